"""A program with a small IP stack of its own on a TAP device, as an emulator has. Without privileges.

tap_program.py DEVICE MAC ADDRESS DEED [VALUE...]

answer           answers ARP and pings until it is killed
ping TARGET      resolves TARGET, pings it with 1 KiB, and ends when it has answered
twice            opens the device and closes it again, then answers
send HEX...      sends those frames ten times a second until it is killed
hear HEX...      ends when each of those frames has come
"""
import fcntl
import os
import select
import socket
import struct
import sys
import time

TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 2, 0x1000
device, mac, address, deed, *values = sys.argv[1:]
MAC = bytes.fromhex(mac.replace(":", ""))
IP = socket.inet_aton(address)
ECHO_REPLY, ECHO_REQUEST = 0, 8


def say(*words):
    os.write(1, (" ".join(words) + "\n").encode())  # in one piece: two programs may share the pipe


def opened():
    tap = open("/dev/net/tun", "r+b", buffering=0)
    fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH14x", device.encode(), IFF_TAP | IFF_NO_PI))
    say(device, "is open")
    return tap


def checksum(data):
    total = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + bytes(len(data) % 2)))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!H", total ^ 0xFFFF)


def arp(operation, to_mac, to_ip):
    return to_mac + MAC + struct.pack("!HHHBBH", 0x806, 1, 0x800, 6, 4, operation) + MAC + IP + to_mac + to_ip


def echo(kind, to_mac, to_ip, rest):
    icmp = bytes([kind, 0, 0, 0]) + rest
    icmp = icmp[:2] + checksum(icmp) + icmp[4:]
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(icmp), 0, 0, 64, 1, 0) + IP + to_ip
    return to_mac + MAC + b"\x08\x00" + head[:10] + checksum(head) + head[12:] + icmp


def received(frame):
    """Answers a frame. Result: the address and MAC of who answered us, if somebody did, and what was in the answer."""
    kind = frame[12:14]
    if kind == b"\x08\x06" and frame[38:42] == IP:
        if frame[21] == 1:
            tap.write(arp(2, frame[22:28], frame[28:32]))
        return frame[28:32], frame[22:28], None
    if kind == b"\x08\x00" and frame[30:34] == IP and frame[23] == 1 and checksum(frame[34:14 + int.from_bytes(frame[16:18], "big")]) == b"\0\0":
        if frame[34] == ECHO_REQUEST:
            tap.write(echo(ECHO_REPLY, frame[6:12], frame[26:30], frame[38:14 + int.from_bytes(frame[16:18], "big")]))
            say("answered", socket.inet_ntoa(frame[26:30]))
        elif frame[34] == ECHO_REPLY:
            return frame[26:30], frame[6:12], frame[38:14 + int.from_bytes(frame[16:18], "big")]
    return None, None, None


if deed == "twice":
    opened().close()
tap = opened()
target_mac = None
question = struct.pack("!HH", 7, 1) + bytes(i % 251 for i in range(1024))
again = time.monotonic()
while True:  # runs until killed, or the deed is done
    if time.monotonic() >= again and deed in ("ping", "send"):
        again = time.monotonic() + 0.1
        if deed == "send":
            for value in values:
                tap.write(bytes.fromhex(value))
        elif target_mac is None:
            tap.write(arp(1, b"\xff" * 6, socket.inet_aton(values[0])))
        else:
            tap.write(echo(ECHO_REQUEST, target_mac, socket.inet_aton(values[0]), question))
    if not select.select([tap], [], [], 0.1)[0]:
        continue
    frame = tap.read(70000)
    if deed == "hear" and frame.hex() in values:
        values.remove(frame.hex())
        if not values:
            say("heard all")
            break
    who, its_mac, content = received(frame)
    if deed == "ping" and who == socket.inet_aton(values[0]):
        target_mac = its_mac
        if content == question:
            say(values[0], "answered")
            break
