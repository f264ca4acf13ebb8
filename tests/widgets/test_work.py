"""Work in threads: one at a time, the latest wins, stopped at a word, errors told."""

import asyncio
import threading

import pytest

import rnnlab as rl
from rnnlab.widgets.work import Work


class Heard(list):
    """What the page was sent."""

    def send(self, message, buffers):
        self.append({**message, "buffers": buffers})

    def of(self, request):
        return [m["state"] for m in self if m["request"] == request]

    async def until(self, request, *states):
        while not any(m["request"] == request and m["state"] in states for m in self):
            await asyncio.sleep(0.002)


@pytest.fixture
def heard():
    return Heard()


def test_parts_arrive_in_order_and_are_sent_by_the_thread_of_the_loop(heard):
    async def main():
        threads = set()
        here = threading.get_ident()

        def task(job):
            threads.add(threading.get_ident())
            job.tell(0.0)
            job.part("first", {"n": 1})
            job.part("second", {"n": 2})

        def send(message, buffers):
            assert threading.get_ident() == here
            heard.send(message, buffers)

        Work("memory", send).start("a", lambda: task)
        await heard.until("a", "done")
        assert here not in threads

    asyncio.run(main())
    assert heard.of("a") == ["started", "progress", "part", "part", "done"]
    assert [m.get("part") for m in heard if m["state"] == "part"] == ["first", "second"]
    assert {m["kind"] for m in heard} == {"work"}
    assert {m["topic"] for m in heard} == {"memory"}


def test_the_latest_wins_and_two_kinds_never_work_at_once(heard):
    async def main():
        going, together = 0, []
        release = threading.Event()

        def endless(job):
            nonlocal going
            going += 1
            together.append(going)
            try:
                while not release.wait(0.001):
                    job.tell(0.5)
            finally:
                going -= 1

        def quick(job):
            nonlocal going
            together.append(going + 1)

        first, second = Work("memory", heard.send), Work("dynamics", heard.send)
        first.start("a", lambda: endless)
        await heard.until("a", "progress")
        first.start("b", lambda: endless)  # the one before is told to stop, and this one begins
        await heard.until("b", "progress")
        second.start("c", lambda: quick)
        await asyncio.sleep(0.02)
        assert heard.of("c") == ["started"]
        first.stop()
        await heard.until("c", "done")
        assert together == [1, 1, 1]

    asyncio.run(main())
    assert heard.of("a")[-1] == heard.of("b")[-1] == "stopped"
    assert "done" not in heard.of("a") + heard.of("b")


def test_errors_come_back_under_the_request(heard):
    async def main():
        def wrong(job):
            raise rl.RnnlabError("This does not go.")

        def worse(job):
            return 1 / 0

        work = Work("memory", heard.send)
        for request, task in (("a", wrong), ("b", worse)):
            work.start(request, lambda task=task: task)
            await heard.until(request, "error")
        work.start("c", lambda: 1 / 0)
        await heard.until("c", "error")
        work.start("d", lambda: lambda job: None)  # and the next one works
        await heard.until("d", "done")

    asyncio.run(main())
    errors = {m["request"]: m["error"] for m in heard if m["state"] == "error"}
    zero = "ZeroDivisionError: division by zero"
    assert errors == {"a": "This does not go.", "b": zero, "c": zero}


def test_closing_ends_the_thread_and_says_nothing_more(heard):
    async def main():
        ended = threading.Event()

        def endless(job):
            try:
                while True:
                    job.tell(0.1)
                    ended.wait(0.001)
            finally:
                ended.set()

        work = Work("memory", heard.send)
        work.start("a", lambda: endless)
        await heard.until("a", "progress")
        work.close()
        count = len(heard)
        while not ended.is_set():
            await asyncio.sleep(0.002)
        await asyncio.sleep(0.01)
        assert len(heard) == count

    asyncio.run(main())


def test_without_a_loop_it_says_what_is_missing(heard):
    with pytest.raises(rl.RnnlabError, match="memory needs a live kernel to compute in"):
        Work("memory", heard.send).start("a", lambda: lambda job: None)
    assert heard == []


def test_what_was_said_before_the_stop_is_not_heard_after_it(heard):
    async def main():
        said = threading.Event()

        def task(job):
            job.part("late", {})
            said.set()

        work = Work("memory", heard.send)
        work.start("a", lambda: task)
        assert said.wait(5)  # the loop stands still meanwhile
        work.stop()
        await asyncio.sleep(0.01)

    asyncio.run(main())
    assert heard.of("a") == ["started", "stopped"]
