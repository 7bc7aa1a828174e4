"""The process being tapped: from a Tap to frames in the rings of its sessions."""
