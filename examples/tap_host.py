#!/usr/bin/python3
"""tap_host.py DEVICE ADDRESS: a host in user space that opens the TAP device itself, and answers ARP and pings.

    shmifctl exec BUS --lan --tap tap0 -- python3 examples/tap_host.py tap0 198.18.0.3
"""
import fcntl
import os
import socket
import struct
import sys

TUNSETIFF = 0x400454CA
IFF_TAP, IFF_NO_PI = 0x0002, 0x1000
MAC = bytes.fromhex("525400000003")


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data[:len(data) & ~1])) + (data[-1] << 8 if len(data) % 2 else 0)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def answer(frame, address):
    """The answer to a frame, or None."""
    kind, sender = frame[12:14], frame[6:12]
    if kind == b"\x08\x06" and frame[20:22] == b"\x00\x01" and frame[38:42] == address:  # who has my address?
        return sender + MAC + kind + frame[14:20] + b"\x00\x02" + MAC + address + frame[22:32]
    if kind == b"\x08\x00" and frame[14] == 0x45 and frame[23] == 1 and frame[30:34] == address and frame[34] == 8:
        ping = frame[34:14 + int.from_bytes(frame[16:18], "big")]  # without the padding of a short frame
        echo = b"\x00\x00\x00\x00" + ping[4:]
        echo = echo[:2] + checksum(echo).to_bytes(2, "big") + echo[4:]
        return sender + MAC + frame[12:26] + address + frame[26:30] + echo
    return None


def opened(device):
    """The descriptor of a TAP device."""
    tap = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", device.encode(), IFF_TAP | IFF_NO_PI))
    return tap


def main():
    if len(sys.argv) != 3:
        sys.exit("usage: tap_host.py DEVICE ADDRESS")
    try:
        device, address = sys.argv[1], socket.inet_aton(sys.argv[2])
    except OSError:
        sys.exit(f"tap_host.py: \"{sys.argv[2]}\" is no IPv4 address\nusage: tap_host.py DEVICE ADDRESS")
    try:
        tap = opened(device)
    except OSError as error:
        sys.exit(f"tap_host.py: cannot open the TAP device {device}: {error.strerror} "
                 "(run it in 'shmifctl exec BUS --lan --tap DEVICE --')")
    while True:
        reply = answer(os.read(tap, 65536), address)
        if reply:
            os.write(tap, reply)


main()
