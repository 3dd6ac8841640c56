"""Training jobs: one worker thread, a fair line of waiting jobs, and a state any tab can look at.

A page only looks at a job; a reload, a second tab and a phone that slept see the same one.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from app import settings
from app.estimate import in_words
from app.joblog import note
from app.visitors import LOCAL
from vpt_core.errors import UserError
from vpt_core.execute import Phase, Record, execute
from vpt_core.runs import Run, check_spec, check_unfinished, give_up, new_run, put_in_line
from vpt_core.spec import Spec
from vpt_core.train import Step

log = logging.getLogger(__name__)
KEPT = 200  # finished jobs remembered for pages that still look at them
SLACK = 3  # an estimate may be wrong by so much before a tuning is stopped where time is limited


@dataclass(eq=False)
class Job:
    """Runs asked for together, executed one after the other."""

    runs: list[Run]
    owner: str = LOCAL
    seconds: float = 0.0  # as estimated
    number: int = 0  # of this process, in order of coming
    id: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    state: str = "waiting"  # waiting, running, done, stopped, failed
    turn: int = 0  # 1 for the first job that began in this process; 0 before it began
    began: float = 0.0  # on the clock of time.monotonic
    at: int = 0  # index of the run that is going on
    now: Record | None = None  # the latest phase or step of that run
    message: str = ""
    why: str = ""  # it was stopped, when not by the person
    stopping: threading.Event = field(default_factory=threading.Event)

    @property
    def active(self) -> bool:
        return self.state in ("waiting", "running")


def in_turn(waiting: Sequence[Job], served: Mapping[str, int]) -> list[Job]:
    """The order in which `waiting` jobs will begin: their owners take turns, and who was served longest ago goes first.

    `served`: for an owner the turn of their latest job; new ones go in the order of coming.
    """
    left, served, order = list(waiting), dict(served), []
    turn = max(served.values(), default=0)
    while left:
        job = min(left, key=lambda j: (served.get(j.owner, 0), j.number))
        left.remove(job)
        order.append(job)
        turn += 1
        served[job.owner] = turn
    return order


class Jobs:
    """The line of jobs. Training is one at a time: two at once would each take twice as long."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._changed = threading.Condition()
        self._count = self._turn = 0
        threading.Thread(target=self._work, name="training", daemon=True).start()

    def submit(self, specs: Sequence[Spec], root: Path, owner: str = LOCAL, seconds: float = 0.0) -> Job:
        """Put new runs in line, which take `seconds` as estimated.

        Raises `UserError` when one of the specs cannot be, or when the line or the owner's share of it is full.
        """
        for spec in specs:
            check_spec(spec)
        return self._add(lambda: [new_run(spec, root) for spec in specs], owner, seconds)

    def go_on(self, run: Run, owner: str = LOCAL, seconds: float = 0.0) -> Job:
        """Put a run in line that was broken off. Raises `UserError` when it was not, and as `submit` does."""

        def waiting() -> list[Run]:
            check_unfinished(run)
            put_in_line(run)
            return [run]

        return self._add(waiting, owner, seconds)

    def _add(self, runs: Callable[[], list[Run]], owner: str, seconds: float) -> Job:
        with self._changed:
            self._check_line(owner)
            for old in [j for j in self._jobs.values() if not j.active][:-KEPT]:
                del self._jobs[old.id]
            self._count += 1
            job = Job(runs(), owner, seconds, self._count)
            self._jobs[job.id] = job
            note("waiting", job.number, methods=[run.spec.method for run in job.runs], estimate=round(seconds, 1))
            self._changed.notify()
        return job

    def _check_line(self, owner: str) -> None:
        active = [job for job in self._jobs.values() if job.active]
        mine = [job for job in active if job.owner == owner]
        if settings.JOBS_EACH and len(mine) >= settings.JOBS_EACH:
            raise UserError(
                f"{len(mine)} tunings of yours are in line, and {settings.JOBS_EACH} are allowed at once. "
                "Wait until one has ended, or stop one."
            )
        if sum(job.state == "waiting" for job in active) >= settings.QUEUE:
            wait = in_words(sum(job.seconds for job in active))
            raise UserError(f"The line is full: {settings.QUEUE} tunings are waiting, for {wait}. Try again later.")

    def get(self, id: str | None, owner: str | None = LOCAL) -> Job | None:
        """The job of this owner with this id; None when it is unknown, as after a restart, or another's."""
        job = self._jobs.get(id or "")
        return job if job and job.owner == owner else None

    def active(self) -> list[Job]:
        """Jobs that run or wait, in the order of coming."""
        with self._changed:
            return [job for job in self._jobs.values() if job.active]

    def ahead(self, job: Job) -> int:
        """How many jobs are before this one."""
        return len(self._before(job))

    def wait(self, job: Job) -> float:
        """Seconds until a waiting job begins, as estimated."""
        now = time.monotonic()
        return sum(max(0.0, j.seconds - (now - j.began if j.state == "running" else 0)) for j in self._before(job))

    def _before(self, job: Job) -> list[Job]:
        with self._changed:
            line = [j for j in self._jobs.values() if j.state == "running"] + self._line()
        return line[: line.index(job)] if job in line else []

    def stop(self, job: Job, why: str = "") -> None:
        """Stop a job: a running one after its batch, keeping the best; a waiting one never begins."""
        with self._changed:
            job.why = job.why or why
            job.stopping.set()
            if job.state == "waiting":
                self._end(job, "stopped", "Stopped before it began.")

    def _line(self) -> list[Job]:
        served: dict[str, int] = {}
        for job in self._jobs.values():
            served[job.owner] = max(served.get(job.owner, 0), job.turn)
        return in_turn([j for j in self._jobs.values() if j.state == "waiting"], served)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(self._line)
                job = self._line()[0]
                self._turn += 1
                job.turn, job.began, job.state = self._turn, time.monotonic(), "running"
                note("started", job.number)
            try:
                state, message = self._run(job)
            except UserError as error:
                state, message = "failed", str(error)
            except Exception:
                log.exception("job %s failed", job.number)
                state = "failed"
                message = "Something went wrong in the program; the details are in its log. What finished before is kept."
            with self._changed:
                self._end(job, state, message)

    def _run(self, job: Job) -> tuple[str, str]:
        for job.at, run in enumerate(job.runs):  # noqa: B020 (the page reads job.at while this goes on)
            for record in execute(run, lambda: self._must_stop(job)):
                if isinstance(record, Phase | Step):
                    job.now = record
            if job.stopping.is_set():
                return "stopped", run.status["reason"] or "Stopped; what finished before is kept."
        return "done", ""

    def _must_stop(self, job: Job) -> bool:
        minutes = SLACK * settings.JOB_MINUTES
        if minutes and time.monotonic() - job.began > 60 * minutes:
            job.why = job.why or f"It has taken {minutes} minutes, much longer than estimated."
            job.stopping.set()
        return job.stopping.is_set()

    def _end(self, job: Job, state: str, message: str) -> None:
        job.message, job.now = f"{job.why} {message}".strip(), None
        taken = round(time.monotonic() - job.began, 1) if job.turn else 0
        note("ended", job.number, state=state, seconds=taken, images=_settle(job))
        job.state = state  # last: pages look once more when it has changed


def _settle(job: Job) -> int:
    """Record of the runs that were not begun that they will not be; gives how many images the others had."""
    images = 0
    for run in job.runs:
        try:
            status = run.status
            if status["state"] == "waiting":
                give_up(run, "It was never begun.")
            images = sum(status.get("counts", {}).values()) or images
        except OSError as error:  # the line goes on, also when the disk is full
            log.warning("the state of a run of job %s cannot be recorded: %s", job.number, error.strerror)
    return images


JOBS = Jobs()
"""The line of this process."""
