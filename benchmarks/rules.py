"""A few dozen detection rules for Windows events, and how an engine matches them.

Each rule is a line: event ids, then conditions that must all hold. A condition has a field, a
comparison (``is``, ``ends`` or ``has``, ignoring case), and values of which one must match. It is
plain Python, as in real engines.
"""

from collections.abc import Callable
from typing import Any

Event = dict[str, Any]
Matcher = Callable[[Event], bool]

RULES = r"""
1 4688; CommandLine has -enc , frombase64, -e jab
1 4688; CommandLine has downloadstring, iwr http, curl http
1 4688; ParentImage ends \winword.exe, \excel.exe; Image ends \cmd.exe, \powershell.exe
1 4688; Image ends \wmic.exe; CommandLine has /node:
1 4688; ParentImage ends \wmiprvse.exe; Image ends \cmd.exe, \powershell.exe, \wscript.exe
1 4688; Image ends \schtasks.exe; CommandLine has /create
1 4688; Image ends \sc.exe; CommandLine has create, config
1 4688; CommandLine has delete shadows, shadowcopy delete
1 4688; CommandLine has wevtutil cl, clear-eventlog
1 4688; Image ends \net.exe, \net1.exe; CommandLine has /add
1 4688; Image ends \whoami.exe, \systeminfo.exe, \nltest.exe
1 4688; Image ends \rundll32.exe; CommandLine has javascript:, #1
1 4688; Image ends \regsvr32.exe; CommandLine has /i:http, scrobj
1 4688; Image ends \mshta.exe; CommandLine has http, vbscript
1 4688; Image ends \certutil.exe; CommandLine has urlcache, decode
1 4688; Image ends \bitsadmin.exe; CommandLine has /transfer
1 4688; CommandLine has comsvcs, sekurlsa, lsass.dmp
1 4688; Image has \appdata\local\temp\, \windows\temp\
11 4663; TargetFilename ends \wbemcomn.dll, \wbem\wmiutils.dll
11 4663; TargetFilename has \startup\
11 4663; TargetFilename ends .ps1, .vbs, .hta, .bat
11 4663; TargetFilename has \users\public\; TargetFilename ends .exe, .dll
7; ImageLoaded ends \wbem\wbemcomn.dll; Image ends \wmiprvse.exe
7; ImageLoaded has system.management.automation; Image ends \wmiprvse.exe, \mmc.exe
7; Signed is false; ImageLoaded has \temp\, \public\
7; ImageLoaded ends \taskschd.dll; Image ends \winword.exe, \excel.exe
3 5156; Image ends \cmd.exe, \powershell.exe, \wscript.exe
3 5156; DestinationPort is 3389
3 5156; DestinationPort is 135, 5985, 5986; Image ends \svchost.exe, \wmic.exe
12 13 14 4657; TargetObject has \currentversion\run
12 13 14 4657; TargetObject has \image file execution options\
12 13 14 4657; TargetObject has \lsa\security packages
13 4657; TargetObject has \services\; Details has %comspec%, powershell
10; TargetImage ends \lsass.exe; GrantedAccess is 0x1010, 0x1410, 0x1fffff
10; CallTrace has unknown(; SourceImage ends \cmd.exe, \powershell.exe
4624 4625 4672; LogonType is 3, 10; IpAddress has 172., 10., 192.168.
4648; TargetServerName has $
5140 5145; ShareName ends \admin$, \c$
"""


def matchers() -> list[Matcher]:
    """The rules as functions, in order."""
    return [_rule(line) for line in RULES.strip().splitlines()]


def match(rules: list[Matcher], event: Event) -> list[int]:
    """The numbers of the rules that ``event`` matches."""
    return [number for number, rule in enumerate(rules) if rule(event)]


def _rule(line: str) -> Matcher:
    ids, *rest = line.split(";")
    wanted = frozenset(map(int, ids.split()))
    conditions = [_condition(text) for text in rest]

    def rule(event: Event) -> bool:
        return event.get("EventID") in wanted and all(holds(event) for holds in conditions)

    return rule


def _condition(text: str) -> Matcher:
    field, how, values = text.split(maxsplit=2)
    wanted = tuple(value.strip() for value in values.split(","))
    if how == "is":
        return lambda event: str(event.get(field, "")).lower() in wanted
    if how == "ends":
        return lambda event: str(event.get(field, "")).lower().endswith(wanted)

    def has(event: Event) -> bool:
        held = str(event.get(field, "")).lower()
        return any(value in held for value in wanted)

    return has
