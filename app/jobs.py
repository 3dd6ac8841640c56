"""Training jobs: one worker thread, a line of waiting jobs, and a state any tab can look at.

A page only looks at a job; a reload, a second tab and a phone that slept see the same one.
"""

from __future__ import annotations

import logging
import queue
import secrets
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vpt_core.errors import UserError
from vpt_core.execute import Phase, Record, execute
from vpt_core.runs import Run, new_run
from vpt_core.spec import Spec
from vpt_core.train import Step

log = logging.getLogger(__name__)
KEPT = 200  # finished jobs remembered for pages that still look at them


@dataclass
class Job:
    """Runs asked for together, executed one after the other."""

    runs: list[Run]
    id: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    state: str = "waiting"  # waiting, running, done, stopped, failed
    at: int = 0  # index of the run that is going on
    now: Record | None = None  # the latest phase or step of that run
    message: str = ""
    stopping: threading.Event = field(default_factory=threading.Event)

    @property
    def active(self) -> bool:
        return self.state in ("waiting", "running")


class Jobs:
    """The line of jobs. Training is one at a time: two at once would each take twice as long."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._line: queue.SimpleQueue[Job] = queue.SimpleQueue()
        threading.Thread(target=self._work, name="training", daemon=True).start()

    def submit(self, specs: Sequence[Spec], root: Path) -> Job:
        """Put runs in line. Raises `UserError` when one of the specs cannot be."""
        job = Job([new_run(spec, root) for spec in specs])
        for old in [j for j in self._jobs.values() if not j.active][:-KEPT]:
            del self._jobs[old.id]
        self._jobs[job.id] = job
        self._line.put(job)
        return job

    def get(self, id: str | None) -> Job | None:
        """The job with this id; None when it is unknown, as after a restart."""
        return self._jobs.get(id or "")

    def ahead(self, job: Job) -> int:
        """How many jobs are before this one."""
        active = [j for j in self._jobs.values() if j.active]
        return active.index(job) if job in active else 0

    def _work(self) -> None:
        while True:
            job = self._line.get()
            if job.stopping.is_set():
                job.state, job.message = "stopped", "Stopped before it began."
                continue
            job.state = "running"
            try:
                self._run(job)
            except UserError as error:
                job.state, job.message = "failed", str(error)
            except Exception:
                log.exception("job %s failed", job.id)
                job.state = "failed"
                job.message = "Something went wrong in the program; the details are in its log. What finished before is kept."
            job.now = None

    def _run(self, job: Job) -> None:
        for job.at, run in enumerate(job.runs):  # noqa: B020 (the page reads job.at while this goes on)
            for record in execute(run, job.stopping.is_set):
                if isinstance(record, Phase | Step):
                    job.now = record
            if job.stopping.is_set():
                job.state, job.message = "stopped", run.status["reason"] or "Stopped; what finished before is kept."
                return
        job.state = "done"


JOBS = Jobs()
"""The line of this process."""
