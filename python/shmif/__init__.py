"""shmif: a virtual Ethernet in one memory-mapped file.

    with shmif.Bus.create() as bus, bus.attach("a") as a, bus.attach("b") as b:
        a.send(b.mac + a.mac + b"\\x88\\xb6" + b"hello")
        print(b.receive(timeout=1).payload)

docs/python.md is the manual. The package calls the C library, libshmif.so.0.
"""
from ._library import Error, Unsupported, version
from .asynchronous import AsyncPort
from .bus import Bus
from .follower import Follower
from .hosts import Capture, CaptureLoss, Host
from .lab import Lab
from .port import Port
from .values import BROADCAST, BusInfo, Counters, Frame, FrameInfo, Mac, PortInfo

__version__ = version()
__all__ = ["AsyncPort", "BROADCAST", "Bus", "BusInfo", "Capture", "CaptureLoss", "Counters", "Error", "Follower", "Frame", "FrameInfo", "Host",
           "Lab", "Mac", "Port", "PortInfo", "Unsupported", "version"]
