"""Ports in asyncio."""
import asyncio
import errno
import threading
import time

import pytest
import shmif

KIND = b"\x88\xb6"


def frame_to(to, sender, text=b"hello"):
    return to.mac + sender.mac + KIND + text


def test_async_for_gives_the_frames_in_order_until_the_port_closes(bus):
    async def main():
        got = []
        async with bus.attach("b") as b:
            assert (b.name, b.mac) == ("b", b.port.mac)

            async def collect():
                async for frame in b:
                    got.append(int.from_bytes(frame.payload, "big"))
            task = asyncio.create_task(collect())
            with bus.attach("a") as a:
                for i in range(1000):
                    await a.asynchronous.send(frame_to(b.port, a, i.to_bytes(2, "big")))
                    if i % 100 == 0:
                        await asyncio.sleep(0)
                while len(got) < 1000:
                    await asyncio.sleep(0.001)
        await asyncio.wait_for(task, 30)
        return got
    assert asyncio.run(main()) == list(range(1000))


def test_async_for_over_a_port_is_the_same(bus, port):
    async def main():
        with bus.attach("a") as a:
            asyncio.get_running_loop().call_later(0.01, a.send, frame_to(port, a))
            async for frame in port:
                return frame.payload
    assert asyncio.run(main()) == b"hello"


def test_a_receive_that_is_cancelled_takes_no_frame(bus, port):
    async def main():
        loop = asyncio.get_running_loop()
        with bus.attach("a") as a:
            asynchronous = port.asynchronous
            for i in range(200):
                task = asyncio.create_task(asynchronous.receive())
                await asyncio.sleep(0)
                if i % 2:
                    a.send(frame_to(port, a, b"%d" % i))
                    await asyncio.sleep(0.0005 * (i % 3))
                task.cancel()
                frame = None
                try:
                    frame = await task
                except asyncio.CancelledError:
                    pass
                if i % 2:
                    frame = frame or await asynchronous.receive(timeout=10)
                    assert frame.payload == b"%d" % i
                else:
                    assert frame is None
                assert loop.remove_reader(port.fileno()) is False, "a reader is left in the loop"
    asyncio.run(main())


def test_a_timeout_is_told(port):
    async def main():
        with pytest.raises(TimeoutError, match='"test".*within 0.05 s'):
            await port.asynchronous.receive(timeout=0.05)
        with pytest.raises(TimeoutError):
            await port.asynchronous.receive_many(timeout=0)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(port.asynchronous.receive(), 0.05)
    asyncio.run(main())


def test_several_tasks_share_a_port(bus, port):
    async def main():
        with bus.attach("a") as a:
            tasks = [asyncio.create_task(port.asynchronous.receive()) for _ in range(5)]
            await asyncio.sleep(0.01)
            assert await a.asynchronous.send_many([frame_to(port, a, b"%d" % i) for i in range(5)]) == 5
            return sorted(frame.payload for frame in await asyncio.gather(*tasks))
    assert asyncio.run(main()) == [b"0", b"1", b"2", b"3", b"4"]


@pytest.mark.parametrize("end, number", [("close", errno.EBADF), ("down", errno.ENETDOWN), ("interrupt", errno.EINTR)])
@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_wait_ends_when_the_port_does(port, end, number, elsewhere):
    async def main():
        task = asyncio.create_task(port.asynchronous.receive())
        await asyncio.sleep(0.02)
        thread = threading.Thread(target=getattr(port, end))
        if elsewhere:
            thread.start()
        else:
            thread.run()
        with pytest.raises(shmif.Error) as failed:
            await asyncio.wait_for(task, 30)
        assert failed.value.errno == number
        if elsewhere:
            thread.join(30)
    asyncio.run(main())


@pytest.mark.parametrize("end, number", [("close", errno.EBADF), ("down", errno.ENETDOWN)])
def test_a_wait_that_begins_while_another_thread_ends_the_port_ends_too(port, end, number):
    """The thread has found nobody who waits, and has not finished."""
    with port._receiving:
        thread = threading.Thread(target=getattr(port, end))
        thread.start()
        while port._up and not port._closing:
            time.sleep(0.001)
        time.sleep(0.02)
        with pytest.raises(shmif.Error) as failed:
            asyncio.run(port.asynchronous.receive(timeout=5))
        assert failed.value.errno == number
    thread.join(30)


def test_a_port_with_faults_is_refused_at_once(bus):
    async def main(port):
        async with port:
            pytest.fail("it has no descriptor to wait for")
    port = bus.attach("a", faults="loss=1%")
    port.fault(None)
    with pytest.raises(shmif.Error, match='"a" of .* has faults, or had some') as failed:
        asyncio.run(main(port))
    assert failed.value.errno == errno.EOPNOTSUPP and port.closed
    with bus.attach("a") as port:
        asynchronous = port.asynchronous
        port.fault("loss=1%")
        for call in asynchronous.send(bytes(60)), asynchronous.receive(0):
            with pytest.raises(shmif.Error, match="has faults"):
                asyncio.run(call)


@pytest.mark.bus(ring_bytes=65536, patience=1)
@pytest.mark.parametrize("at_once", [True, False])
def test_a_send_that_waits_does_not_stop_the_loop(bus, at_once):
    """The reader that it waits for is in the same loop."""
    async def main():
        async with bus.attach("slow") as slow, bus.attach("a") as a:
            frame = frame_to(slow.port, a.port, bytes(1000))
            count = 300

            async def send():
                if at_once:
                    return await a.send_many([frame] * count)
                for _ in range(count):
                    await a.send(frame)
                return count
            task = asyncio.create_task(send())
            got = 0
            while got < count:
                got += len(await slow.receive_many(timeout=30))
            assert await task == count
            return slow.port.counters()
    counters = asyncio.run(main())
    assert (counters.rx_frames, counters.lost_frames) == (300, 0)


def test_two_loops_use_a_port_one_after_the_other_but_not_at_once(bus, port):
    with bus.attach("a") as a:
        for _ in range(2):
            a.send(frame_to(port, a))
            assert asyncio.run(port.asynchronous.receive(timeout=10)).payload == b"hello"

        async def main():
            task = asyncio.create_task(port.asynchronous.receive())
            await asyncio.sleep(0.01)
            failures = []

            def other():
                try:
                    asyncio.run(port.asynchronous.receive(timeout=1))
                except RuntimeError as failed:
                    failures.append(str(failed))
            await asyncio.to_thread(other)
            a.send(frame_to(port, a))
            assert (await asyncio.wait_for(task, 30)).payload == b"hello"
            return failures
        said, = asyncio.run(main())
        assert "another event loop" in said


def test_an_idle_port_costs_no_cpu(bus, port):
    async def main():
        task = asyncio.create_task(port.asynchronous.receive())
        await asyncio.sleep(0.05)
        ticks = []
        loop = asyncio.get_running_loop()
        real = loop._selector.select

        def counted(timeout=None):
            ticks.append(timeout)
            return real(timeout)
        loop._selector.select = counted
        await asyncio.sleep(0.5)
        loop._selector.select = real
        task.cancel()
        return len(ticks)
    began = time.process_time()
    assert asyncio.run(main()) < 20
    assert time.process_time() - began < 10


@pytest.mark.parametrize("way", ["receive", "send", "send_many"])
def test_the_loop_runs_under_load(bus, port, way):
    """A call that never has to wait lets the others run, and can be cancelled."""
    async def main():
        with bus.attach("a") as a:
            frame = frame_to(port, a)
            a.send_many([frame] * 1000)
            ticks = 0

            async def work():
                for _ in range(10_000_000):
                    if way == "receive":
                        a.send(frame)
                        await port.asynchronous.receive()
                    elif way == "send":
                        await a.asynchronous.send(frame)
                    else:
                        await a.asynchronous.send_many([frame] * 2)

            async def tick():
                nonlocal ticks
                while True:
                    await asyncio.sleep(0)
                    ticks += 1
            ticking = asyncio.create_task(tick())
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(work(), 0.2)
            ticking.cancel()
            return ticks, a.counters().tx_frames
    ticks, sent = asyncio.run(main())
    assert ticks >= 3 and ticks >= sent // 200


def test_a_loop_that_waits_for_the_closer_does_not_keep_it(bus):
    """The task that close() wakes joins the thread that closes."""
    port = bus.attach("a")
    closer = threading.Thread(target=port.close)

    async def main():
        asyncio.get_running_loop().call_later(0.02, closer.start)
        with pytest.raises(shmif.Error) as failed:
            await port.asynchronous.receive()
        assert failed.value.errno == errno.EBADF
        closer.join(5)
        assert not closer.is_alive() and port.closed
    asyncio.run(main())


def test_a_loop_that_was_closed_during_a_wait_is_forgotten(bus, port):
    loop = asyncio.new_event_loop()
    task = loop.create_task(port.asynchronous.receive())
    loop.run_until_complete(asyncio.sleep(0.01))
    loop.close()
    task._log_destroy_pending = False
    with bus.attach("a") as a:
        async def main():
            asyncio.get_running_loop().call_later(0.02, a.send, frame_to(port, a))
            return await port.asynchronous.receive(timeout=20)
        assert asyncio.run(main()).payload == b"hello"


def test_a_receive_of_another_thread_does_not_stop_the_loop(bus, port):
    async def main():
        receiver = threading.Thread(target=lambda: got.append(port.receive(timeout=100)))
        receiver.start()
        while not port._receiving.locked():
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.05)
        with pytest.raises(TimeoutError):
            await port.asynchronous.receive(timeout=0.05)
        port.up()
        assert receiver.is_alive()
        with bus.attach("a") as a:
            a.send(frame_to(port, a))
            receiver.join(30)
    got = []
    began = time.monotonic()
    asyncio.run(main())
    assert [frame.payload for frame in got] == [b"hello"] and time.monotonic() - began < 60
