/* A consumer of one tapring session, written from docs/protocol.md. It needs Linux and libc alone.
 *
 *     cc -std=c11 -O2 -o reader examples/reader.c
 *     ./reader [--at-least-once] ENGINE.LANE:ID
 *
 * Events go to standard output, one a line: lines and json as they are, bytes and array in hex.
 * The account goes to standard error at the end, as one line of JSON. Exit code 1: an error.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

_Static_assert(sizeof(void *) == 8 && ATOMIC_LLONG_LOCK_FREE == 2, "a word is one 8-byte move");

#define REGISTRY_MAGIC 0x01676E6972706174
#define RING_MAGIC 0x02676E6972706174
#define MAX_ID 0x80000000000000
#define CLOCK_OFFSET_ZERO 0x8000000000000000
#define CLOCK_OFFSET_LIMIT 0x4000000000000000
#define ANYBODY ((uid_t)-1)
enum { MAJOR = 5, PAGE = 4096, MAX_ROWS = 64, MAX_INFO_BYTES = 1 << 20 };
enum { MIN_SLOTS = 2, MIN_SLOT_BYTES = 64, MAX_SLOT_BYTES = 4096 };
enum { LOCK_ENGINE = 0, LOCK_ROWS = 16 }; /* bytes of the registry that are locked */

/* Offsets in bytes: in both segments, the registry, a row, the ring, the consumer's page. */
enum { MAGIC = 0, FORMAT = 8, SEGMENT_BYTES = 16, EPOCH = 24, FEATURES = 32 };
enum { ROWS = 40, INFO_BYTES = 48, CLOCK_OFFSET_NS = 80, ENGINE_STATE = 512, VERDICTS = 1024 };
enum { FIRST_ROW = 4352, ROW_BYTES = 128, ROW_STATE = 0, ROW_ID = 8, ROW_EPOCH = 16 };
enum { ROW_STAGE = 24, ROW_SLOTS = 32, ROW_SLOT_BYTES = 40, ROW_OPENED_NS = 56 };
enum { ROW_DURATION_NS = 64, RING_ID = 40, RING_SLOTS = 48, RING_SLOT_BYTES = 56, TAIL = 256 };
enum { CAPTURED = 384, DROPPED = 512, OVERSIZE = 520, ERRORS = 528, ENDED = 536 };
enum { CONSUMER_PAGE = 4096, SLOTS = 8192 };
enum { HEAD = 0, RELEASED = 128, ABANDONED = 136, MISSED = 144, GAPS = 152 };

enum { ROW_IS_FREE = 0, ROW_IS_OPEN = 2, ENGINE_IS_CLOSED = 2 };
enum { NONE = 0, ACCEPTED = 1 }; /* a verdict; any other is a refusal */
enum { LINES = 1, JSON = 2, BYTES = 3, ARRAY = 4 }; /* a kind */

static const char DEADLINE[] = "deadline", DEATH[] = "engine-death"; /* why it ended */

struct frame {
    uint64_t pos, time_ns, offered, captured, sequence;
    uint32_t length, count;
    uint16_t stage, kind;
    uint32_t flags;
};
_Static_assert(sizeof(struct frame) == 56, "the frame header has no padding");

struct session {
    char engine[64], lane[9];
    uint64_t id, rows, index, row, stage, kind, slots, slot_bytes;
    uint64_t deadline_ns, clock_shift_ns; /* own clock + shift (modulo 2^64) is the engine's */
    int registry_fd;
    uid_t owner;
    const uint8_t *registry, *ring;
    char *info; /* the info block */
    uint8_t *page, *payload;
    /* The words in the consumer's page are copies of these, and not read again. */
    uint64_t head, released, abandoned, missed, gaps;
    bool at_least_once, resuming;
};

static _Noreturn void fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("reader: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    exit(1);
}

/* A process that makes a mapped file shorter sends this signal to whoever touches the rest. */
static void on_sigbus(int number)
{
    static const char line[] = "reader: a segment was made shorter while it was read\n";
    _exit(write(STDERR_FILENO, line, sizeof line - 1) < 0 ? number : 1);
}

/* Each load is an acquire: what follows it in the program is loaded after it. */
static uint64_t load(const uint8_t *base, uint64_t offset)
{
    return atomic_load_explicit((const _Atomic uint64_t *)(base + offset), memory_order_acquire);
}

/* Each store is a release: whoever sees it sees all that was stored, and has been read, before. */
static void store(uint8_t *base, uint64_t offset, uint64_t value)
{
    atomic_store_explicit((_Atomic uint64_t *)(base + offset), value, memory_order_release);
}

static void pause_for(long ns) { nanosleep(&(struct timespec){.tv_nsec = ns}, NULL); }

static const char *skip_space(const char *p) { return p + strspn(p, " \t\r\n"); }

/* Find an object's value by its key, or an array's by its index (key is NULL), in JSON that ends
 * with a NUL. It counts brackets to skip what lies deeper, so no nesting is too deep for it. */
static const char *find(const char *p, const char *key, uint64_t index)
{
    int depth = 0;
    for (; p && *p; p++) {
        depth += (*p == '{' || *p == '[') - (*p == '}' || *p == ']');
        if (depth <= 0)
            return NULL;
        if (!key && depth == 1 && (*p == '[' || *p == ',') && index-- == 0)
            return skip_space(p + 1);
        if (*p != '"')
            continue;
        const char *text = p + 1;
        while (*++p != '"')
            if (*p == '\0' || (*p == '\\' && *++p == '\0'))
                return NULL;
        const char *colon = skip_space(p + 1);
        if (key && depth == 1 && *colon == ':' && (size_t)(p - text) == strlen(key) &&
            !memcmp(text, key, strlen(key)))
            return skip_space(colon + 1);
    }
    return NULL;
}

static bool is_string(const char *p, const char *text)
{
    size_t length = strlen(text);
    return p && *p == '"' && !strncmp(p + 1, text, length) && p[length + 1] == '"';
}

static bool is_number(const char *p, uint64_t *number)
{
    char *end;
    if (!p || *p < '0' || *p > '9')
        return false;
    errno = 0;
    *number = strtoull(p, &end, 10);
    return errno == 0 && strchr(" \t\r\n,}", *end);
}

/* Open a segment and read its first page; it is not mapped before it is checked. The owner is who
 * may own it beside root, and then who does. */
static int open_segment(const char *name, uint64_t magic, uid_t *owner, uint64_t *page)
{
    struct stat status;
    /* O_NONBLOCK: a file of that name that another user has leased would hold us up. */
    int fd = open(name, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        fail("cannot open %s: %s", name, strerror(errno));
    page[MAGIC] = 0;
    for (int tries = 0; page[MAGIC] == 0; tries++) { /* being made, for a second at most */
        if (tries > 0)
            pause_for(5000000);
        if (tries == 200 || fstat(fd, &status) < 0 || !S_ISREG(status.st_mode))
            fail("%s is not a segment of tapring", name);
        if (*owner != ANYBODY && status.st_uid != *owner && status.st_uid != 0)
            fail("%s is another user's", name);
        /* MAGIC is stored last, so it is loaded first. */
        if (status.st_size >= PAGE && pread(fd, page, 8, MAGIC) != 8)
            fail("cannot read %s", name);
    }
    atomic_thread_fence(memory_order_seq_cst);
    if (fstat(fd, &status) < 0 || pread(fd, page, PAGE, 0) != PAGE)
        fail("cannot read %s", name);
    if (page[MAGIC] != magic)
        fail("%s is not a segment of tapring", name);
    if ((uint32_t)page[FORMAT / 8] != MAJOR)
        fail("%s is of version %" PRIu32 "; this reads %d", name, (uint32_t)page[FORMAT / 8], MAJOR);
    if (page[FEATURES / 8] != 0)
        fail("%s has features that this does not know: %" PRIx64, name, page[FEATURES / 8]);
    /* To touch a hole takes a new page, which a full /dev/shm does not have. */
    if (page[SEGMENT_BYTES / 8] != (uint64_t)status.st_size ||
        status.st_blocks * 512 < status.st_size)
        fail("%s is damaged: its size", name);
    *owner = status.st_uid;
    return fd;
}

static void *map(int fd, uint64_t offset, uint64_t length, int protection)
{
    void *address = mmap(NULL, length, protection, MAP_SHARED, fd, (off_t)offset);
    if (address == MAP_FAILED)
        fail("cannot map a segment: %s", strerror(errno));
    return address;
}

/* The offset of this process's time namespace; false if that cannot be told. */
static bool own_clock_offset(uint64_t *ns)
{
    struct stat own, of_children;
    char line[128];
    long long seconds, rest;
    bool found = false;
    *ns = 0;
    FILE *file = fopen("/proc/self/timens_offsets", "re");
    if (!file) /* a kernel without time namespaces, or no /proc */
        return errno == ENOENT && access("/proc/self/ns/mnt", F_OK) == 0;
    while (!found && fgets(line, sizeof line, file))
        found = sscanf(line, "monotonic %lld %lld", &seconds, &rest) == 2;
    fclose(file);
    if (found)
        *ns = (uint64_t)seconds * 1000000000 + (uint64_t)rest;
    return found && !stat("/proc/self/ns/time", &own) &&
           !stat("/proc/self/ns/time_for_children", &of_children) &&
           own.st_ino == of_children.st_ino;
}

/* Open, check and map the registry. */
static void attach_registry(struct session *s)
{
    uint64_t page[PAGE / 8], rows, own;
    char name[128];
    snprintf(name, sizeof name, "/dev/shm/tapring.%s.%s", s->engine, s->lane);
    s->owner = geteuid() == 0 ? ANYBODY : geteuid();
    s->registry_fd = open_segment(name, REGISTRY_MAGIC, &s->owner, page);
    uint64_t info_bytes = page[INFO_BYTES / 8], offset = page[CLOCK_OFFSET_NS / 8];
    s->rows = page[ROWS / 8];
    if (s->rows < 1 || s->rows > MAX_ROWS || info_bytes > MAX_INFO_BYTES)
        fail("%s is damaged: its rows or its info block", name);
    uint64_t info_offset = (FIRST_ROW + ROW_BYTES * s->rows + PAGE - 1) / PAGE * PAGE;
    s->info = calloc(1, info_bytes + 1);
    if (!s->info ||
        pread(s->registry_fd, s->info, info_bytes, (off_t)info_offset) != (ssize_t)info_bytes)
        fail("%s is damaged: its info block is not there", name);
    const char *object = skip_space(s->info);
    if (!is_string(find(object, "engine", 0), s->engine) ||
        !is_string(find(object, "lane", 0), s->lane) ||
        !is_number(find(object, "max_sessions", 0), &rows) || rows != s->rows)
        fail("%s is damaged: its info block is another's", name);
    /* If the engine, or this process, cannot tell its offset, the two clocks are taken to be one. */
    if (offset > CLOCK_OFFSET_ZERO - CLOCK_OFFSET_LIMIT &&
        offset < CLOCK_OFFSET_ZERO + CLOCK_OFFSET_LIMIT && own_clock_offset(&own))
        s->clock_shift_ns = offset - CLOCK_OFFSET_ZERO - own;
    s->registry = map(s->registry_fd, 0, page[SEGMENT_BYTES / 8], PROT_READ);
}

/* ROW_STATE is stored last, so it is loaded first. */
static bool row_is_ours(const struct session *s)
{
    return load(s->registry, s->row + ROW_STATE) == ROW_IS_OPEN &&
           load(s->registry, s->row + ROW_ID) == s->id;
}

/* Find the session's row, and take its byte until this process ends: the row is ours so long. */
static void take_row(struct session *s)
{
    for (s->row = FIRST_ROW; s->index < s->rows && !row_is_ours(s); s->index++)
        s->row += ROW_BYTES;
    if (s->index == s->rows)
        fail("there is no session %s.%s:%" PRIu64, s->engine, s->lane, s->id);
    struct flock lock = {.l_type = F_WRLCK, .l_len = 1};
    lock.l_start = LOCK_ROWS + (off_t)s->index;
    if (fcntl(s->registry_fd, F_OFD_SETLK, &lock) < 0)
        fail("another consumer reads this session, or no lock can be had: %s", strerror(errno));
    if (!row_is_ours(s))
        fail("the session has just ended");
}

static uint64_t engine_now(const struct session *s)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec + s->clock_shift_ns;
}

static void read_row(struct session *s)
{
    static const char *const kinds[] = {"", "lines", "json", "bytes", "array"};
    s->stage = load(s->registry, s->row + ROW_STAGE);
    const char *info = skip_space(s->info);
    const char *kind = find(find(find(info, "stages", 0), NULL, s->stage), "kind", 0);
    for (s->kind = LINES; s->kind <= ARRAY && !is_string(kind, kinds[s->kind]);)
        s->kind++;
    uint64_t longest, opened = load(s->registry, s->row + ROW_OPENED_NS);
    uint64_t duration = load(s->registry, s->row + ROW_DURATION_NS);
    if (s->kind > ARRAY || !is_number(find(info, "max_duration_ns", 0), &longest))
        fail("the engine does not say what the session's stage is");
    /* A session that was opened in the future was opened by another clock. */
    uint64_t now = engine_now(s), from = opened < now ? opened : now;
    duration = duration && duration < longest ? duration : longest;
    s->deadline_ns = duration > UINT64_MAX - from ? UINT64_MAX : from + duration;
}

static void attach_ring(struct session *s)
{
    uint64_t page[PAGE / 8];
    char name[128];
    snprintf(name, sizeof name, "/dev/shm/tapring.%s.%s.%" PRIu64, s->engine, s->lane, s->id);
    int fd = open_segment(name, RING_MAGIC, &s->owner, page);
    uint64_t slots = page[RING_SLOTS / 8], bytes = page[RING_SLOT_BYTES / 8];
    uint64_t size = page[SEGMENT_BYTES / 8];
    if (page[EPOCH / 8] != load(s->registry, s->row + ROW_EPOCH) || page[RING_ID / 8] != s->id ||
        slots != load(s->registry, s->row + ROW_SLOTS) ||
        bytes != load(s->registry, s->row + ROW_SLOT_BYTES))
        fail("%s is not the ring of this session", name);
    if (bytes < MIN_SLOT_BYTES || bytes > MAX_SLOT_BYTES || (bytes & (bytes - 1)) != 0 ||
        slots < MIN_SLOTS || slots > UINT32_MAX / bytes || size != SLOTS + slots * bytes)
        fail("%s is damaged: its slots", name);
    s->slots = slots;
    s->slot_bytes = bytes;
    s->ring = map(fd, 0, size, PROT_READ);
    s->page = map(fd, CONSUMER_PAGE, PAGE, PROT_READ | PROT_WRITE);
    close(fd);
    s->head = load(s->page, HEAD);
    s->released = load(s->page, RELEASED);
    s->abandoned = load(s->page, ABANDONED);
    s->missed = load(s->page, MISSED);
    s->gaps = load(s->page, GAPS);
    if ((s->head | s->released | s->abandoned | s->missed | s->gaps) >> 63)
        fail("%s is damaged: the consumer's page", name);
    s->resuming = true;
}

static uint64_t slots_for(const struct session *s, const struct frame *f)
{
    return (f->length + sizeof *f + s->slot_bytes - 1) / s->slot_bytes;
}

static bool frame_is_possible(const struct session *s, const struct frame *f, uint64_t tail)
{
    /* The consumer before this one may have released some events of the first frame. */
    uint64_t released = s->released - f->captured;
    return f->pos == s->head && slots_for(s, f) <= tail - s->head && f->count >= 1 &&
           f->count <= f->length && f->stage == s->stage && f->kind == s->kind &&
           f->captured <= UINT64_MAX - f->count && f->offered >= f->captured &&
           f->offered - f->captured >= s->missed && s->released >= f->captured &&
           released <= (s->resuming ? f->count : 0);
}

/* Copy the payload out of the ring, at whose end it goes on at its start. */
static void copy_payload(struct session *s, const struct frame *f)
{
    uint64_t start = s->head % s->slots * s->slot_bytes + sizeof *f;
    uint64_t first = s->slots * s->slot_bytes - start;
    first = first < f->length ? first : f->length;
    if (!(s->payload = realloc(s->payload, f->length)))
        fail("no memory for a frame of %" PRIu32 " bytes", f->length);
    memcpy(s->payload, s->ring + SLOTS + start, first);
    memcpy(s->payload + first, s->ring + SLOTS, f->length - first);
}

/* The end of an event in the payload, or NULL if it is not all there. */
static const uint8_t *end_of_event(const struct session *s, const struct frame *f, uint64_t i,
                                   const uint8_t *event)
{
    size_t rest = (size_t)(s->payload + f->length - event);
    const uint8_t *newline = s->kind <= JSON ? memchr(event, '\n', rest) : NULL;
    uint32_t length = f->length / f->count;
    if (s->kind <= JSON)
        return newline ? newline + 1 : NULL;
    if (s->kind == BYTES)
        memcpy(&length, s->payload + 4 * i, 4);
    return length <= rest ? event + length : NULL;
}

static void write_hex(const uint8_t *event, const uint8_t *end)
{
    for (; event < end; event++)
        printf("%02x", *event);
    putchar('\n');
}

/* Walk over the events, and write them from a given one on. False: they are not as many as said. */
static bool walk_events(const struct session *s, const struct frame *f, uint64_t from)
{
    const uint8_t *event = s->payload, *end = s->payload + f->length, *next;
    if (s->kind == BYTES && f->count > f->length / 4)
        return false;
    event += s->kind == BYTES ? 4 * (uint64_t)f->count : 0;
    for (uint64_t i = 0; i < f->count; i++, event = next) {
        if (!(next = end_of_event(s, f, i, event)))
            return false;
        if (i >= from && s->kind <= JSON)
            fwrite(event, 1, (size_t)(next - event), stdout);
        else if (i >= from)
            write_hex(event, next);
    }
    /* A line that held a newline makes more lines than there are events. */
    if (from < f->count && s->kind <= JSON)
        fwrite(event, 1, (size_t)(end - event), stdout);
    return s->kind <= JSON || event == end;
}

/* Give the frame back: its events first, then its slots. A death in between loses nothing. */
static void release(struct session *s, const struct frame *f)
{
    uint64_t missing = f->offered - f->captured - s->missed;
    store(s->page, RELEASED, s->released = f->captured + f->count);
    store(s->page, MISSED, s->missed += missing);
    store(s->page, GAPS, s->gaps += missing > 0);
    store(s->page, HEAD, s->head += slots_for(s, f)); /* RELEASE */
    s->resuming = false;
}

/* Read one frame; false if there is none. */
static bool read_frame(struct session *s)
{
    struct frame f;
    uint64_t tail = load(s->ring, TAIL); /* PUBLISH */
    if (tail == s->head)
        return false;
    if (tail < s->head || tail - s->head > s->slots)
        fail("the ring is damaged: its tail");
    /* A copy: what is checked is what is used, whatever the engine's process does. */
    memcpy(&f, s->ring + SLOTS + s->head % s->slots * s->slot_bytes, sizeof f);
    atomic_signal_fence(memory_order_seq_cst); /* the compiler may not read it again, either */
    if (!frame_is_possible(s, &f, tail))
        fail("the ring is damaged: the frame at slot %" PRIu64, s->head);
    copy_payload(s, &f);
    if (!walk_events(s, &f, f.count))
        fail("the ring is damaged: the events of the frame at slot %" PRIu64, s->head);
    uint64_t from = s->released - f.captured;
    if (!s->at_least_once)
        release(s, &f);
    walk_events(s, &f, from);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        /* Nobody knows how much of it was read, so none of it counts as delivered. */
        if (!s->at_least_once)
            store(s->page, ABANDONED, s->abandoned += f.count - from);
        fail("cannot write the events: %s", strerror(errno));
    }
    if (s->at_least_once)
        release(s, &f);
    return true;
}

static bool engine_lives(const struct session *s)
{
    struct flock lock = {.l_type = F_WRLCK, .l_start = LOCK_ENGINE, .l_len = 1};
    if (fcntl(s->registry_fd, F_OFD_GETLK, &lock) < 0)
        fail("cannot ask who holds the engine's lock: %s", strerror(errno));
    return lock.l_type != F_UNLCK;
}

/* Why the session ended, or NULL. The page gives the order of the questions. */
static const char *end_of_session(const struct session *s)
{
    static const char *const reasons[] = {NULL, "engine-exit", "expired", "closed", "evicted"};
    bool lives = engine_lives(s);
    uint64_t ended = load(s->ring, ENDED); /* END */
    if (ended != 0)
        return reasons[ended <= 4 ? ended : 3];
    if (load(s->registry, ENGINE_STATE) == ENGINE_IS_CLOSED)
        return "engine-exit";
    if (!lives)
        return DEATH;
    bool row_is_free = load(s->registry, s->row + ROW_STATE) == ROW_IS_FREE;
    uint64_t word = load(s->registry, VERDICTS + 8 * s->index);
    uint64_t verdict = word >> 8 == s->id ? word & 255 : NONE;
    if (verdict != NONE && verdict != ACCEPTED)
        fail("the engine refuses this ring");
    if (row_is_free && verdict == NONE)
        return "closed";
    /* An engine that makes no batch ends no session. */
    return engine_now(s) >= s->deadline_ns ? DEADLINE : NULL;
}

static const char *read_to_the_end(struct session *s)
{
    const char *why = NULL;
    for (long sleep_ns = 50000;;) {
        if (read_frame(s)) {
            sleep_ns = 50000;
        } else if (why) {
            return why;
        } else if ((why = end_of_session(s))) {
            atomic_thread_fence(memory_order_seq_cst); /* and read what came before the end */
        } else {
            pause_for(sleep_ns);
            sleep_ns = sleep_ns < 2500000 ? 2 * sleep_ns : 5000000;
        }
    }
}

static void print_account(struct session *s, const char *why)
{
    uint64_t dropped = load(s->ring, DROPPED), oversize = load(s->ring, OVERSIZE);
    uint64_t errors = load(s->ring, ERRORS), lost = dropped + oversize + errors;
    /* An engine that was killed may have counted a frame that it did not publish. */
    uint64_t captured = why != DEATH ? load(s->ring, CAPTURED) : s->released;
    uint64_t delivered = s->released - s->abandoned;
    if (lost >> 63)
        fail("the ring is damaged: what it says was lost");
    /* A gap behind the last frame. Before the end, frames that are to come might be behind it. */
    if (why != DEADLINE && lost > s->missed) {
        store(s->page, MISSED, s->missed = lost);
        store(s->page, GAPS, ++s->gaps);
    }
    const struct { const char *name; uint64_t value; } counts[] = {
        {"offered", captured + lost}, {"delivered", delivered}, {"unread", captured - delivered},
        {"dropped", dropped}, {"oversize", oversize}, {"errors", errors}, {"gaps", s->gaps}};
    fputc('{', stderr);
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        fprintf(stderr, "\"%s\": %" PRIu64 ", ", counts[i].name, counts[i].value);
    fprintf(stderr, "\"ended_by\": \"%s\"}\n", why);
}

static bool parse_address(struct session *s, const char *address)
{
    static const char pattern[] = "%63[a-z0-9_-].%8[0-9a-f]:%17[0-9]%n";
    char id[18];
    int end;
    return sscanf(address, pattern, s->engine, s->lane, id, &end) == 3 && address[end] == '\0' &&
           !strchr("_-", s->engine[0]) && strlen(s->lane) == 8 && id[0] != '0' &&
           is_number(id, &s->id) && s->id < MAX_ID;
}

int main(int argc, char **argv)
{
    struct session s = {.at_least_once = argc == 3 && !strcmp(argv[1], "--at-least-once")};
    if (argc != 2 + s.at_least_once || !parse_address(&s, argv[argc - 1]))
        fail("usage: reader [--at-least-once] ENGINE.LANE:ID");
    signal(SIGPIPE, SIG_IGN); /* a write fails instead, and what was not written is counted */
    signal(SIGBUS, on_sigbus);
    attach_registry(&s);
    take_row(&s);
    read_row(&s);
    attach_ring(&s);
    print_account(&s, read_to_the_end(&s));
    free(s.payload);
    free(s.info);
}
