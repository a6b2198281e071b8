"""Runs on the workers of a Dask cluster, whose supervisors share the store's folder and hold leases like any other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bench.common.errors import UsageError

PATIENCE = 15.0  # seconds in which a scheduler answers


@contextmanager
def on_cluster(scheduler: str) -> Iterator[int]:
    """`execute` hands its runs to the cluster inside of this; gives how many may run at a time.

    A run whose worker is lost goes to another one, which finds the lease of a dead process and marks the attempt as
    killed before it begins its own.

    Args:
        scheduler: its address, such as tcp://host:8786.

    Raises:
        UsageError: if Dask is not installed, no scheduler answers there, or it has no workers.
    """
    try:
        import joblib
        from distributed import Client
    except ImportError:
        raise UsageError(
            "--backend dask needs Dask, which is not installed: pip install 'ebm-bench[cluster]'"
        ) from None
    try:
        client = Client(scheduler, timeout=PATIENCE)
    except (OSError, TimeoutError, ValueError, ImportError) as error:
        said = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise UsageError(
            f"no Dask scheduler answers at '{scheduler}': {said}; start one with `dask scheduler`, and workers with "
            "`dask worker ADDRESS --no-nanny`"
        ) from None
    with client:
        threads = sum(client.nthreads().values())
        if not threads:
            way_out = f"start some with `dask worker {scheduler} --no-nanny`"
            raise UsageError(f"a cluster needs workers; the scheduler at '{scheduler}' has none: {way_out}")
        with joblib.parallel_config(backend="dask"):
            yield threads
