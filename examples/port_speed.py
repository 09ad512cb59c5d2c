#!/usr/bin/python3
"""port_speed.py [FRAMES [BYTES]]: the CPU time that a frame costs in Python: sent by one port, received by another in the
same process. Each way has its turn in each of nine rounds; it prints the median, and the quickest and the slowest."""
import statistics
import sys
import time

import shmif

FRAMES = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
BYTES = int(sys.argv[2]) if len(sys.argv) > 2 else 60
BATCH = 32
if FRAMES < BATCH or not 14 <= BYTES <= 1514:
    sys.exit(f"port_speed.py: FRAMES is at least {BATCH}, and BYTES 14 to 1514")


def one_by_one(sender, receiver, frame):
    for _ in range(FRAMES):
        sender.send(frame)
        receiver.try_receive()


def waited_for(sender, receiver, frame):
    for _ in range(FRAMES):
        sender.send(frame)
        receiver.receive()


def into_a_buffer(sender, receiver, frame):
    buffer = bytearray(receiver.max_frame_bytes)
    for _ in range(FRAMES):
        sender.send(frame)
        receiver.receive_into(buffer)


def in_batches(sender, receiver, frame):
    batch = [frame] * BATCH
    for _ in range(FRAMES // BATCH):
        sender.send_many(batch)
        receiver.receive_many(BATCH)


ways = {"send, try_receive": one_by_one, "send, receive": waited_for, "send, receive_into": into_a_buffer,
        f"send_many, receive_many ({BATCH})": in_batches}
times = {name: [] for name in ways}
with shmif.Bus.create() as bus, bus.attach("a") as a, bus.attach("b") as b:
    frame = b.mac + a.mac + bytes(BYTES - 12)
    for _ in range(9):
        for name, way in ways.items():
            before, received = time.process_time(), b.counters().rx_frames
            way(a, b, frame)
            spent, received = time.process_time() - before, b.counters().rx_frames - received
            assert received in (FRAMES, FRAMES // BATCH * BATCH), "frames were lost"
            times[name].append(spent / received * 1e6)
for name, values in times.items():
    print(f"{name:32} {statistics.median(values):6.2f} us ({min(values):.2f} to {max(values):.2f})")
