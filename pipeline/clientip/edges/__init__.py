"""The only wing with a clock, a disk, sockets and processes."""
