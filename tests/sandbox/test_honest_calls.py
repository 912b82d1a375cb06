"""Programs that mean well and use what the sandbox restricts: sockets in pairs, threads, locks, copies, waits."""

from collections.abc import Iterator

import pytest
from helpers.sandboxes import sandbox_of

from prorl_mega.sandbox.isolation import IsolationTier
from prorl_mega.sandbox.job import Ending, Limits, script
from prorl_mega.sandbox.pool import Sandbox

EVERYWHERE = {
    "event_loop": """
import asyncio
async def add(a, b):
    await asyncio.sleep(0.01)
    return a + b
print(sum(asyncio.run(asyncio.wait_for(add(40, 2), 5)) for _ in range(1)))
""",
    "event_loop_with_threads": """
import asyncio
async def main():
    print(sum(await asyncio.gather(*(asyncio.to_thread(sum, [n, 1]) for n in range(8)))) + 6)
asyncio.run(main())
""",
    "streams": """
import asyncio, socket
async def main():
    one, other = socket.socketpair()
    _, writer = await asyncio.open_connection(sock=one)
    reader, _ = await asyncio.open_connection(sock=other)
    writer.write(b'42\\n')
    await writer.drain()
    print((await reader.readline()).decode().strip())
asyncio.run(main())
""",
    "pair": """
import socket
one, other = socket.socketpair()
other.settimeout(5)
one.sendall(b'4'); one.send(b'2'); one.shutdown(socket.SHUT_WR)
print(other.makefile().read(), one.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) - 1 or '', sep='')
""",
    "pipe": """
import multiprocessing
one, other = multiprocessing.Pipe()
one.send({'x': 42})
print(other.recv()['x'])
""",
    "pipe_of_one_way": """
import multiprocessing, os
reads, writes = multiprocessing.Pipe(duplex=False)
writes.send(42); print(reads.recv() if reads.poll(1) else 0)
r, w = os.pipe(); os.set_blocking(r, False); os.close(w); os.close(r)
""",
    "threads": """
import threading, queue
q = queue.Queue()
threads = [threading.Thread(target=q.put, args=(n,)) for n in range(8)]
for t in threads: t.start()
for t in threads: t.join()
print(sum(q.get() for _ in threads) + 14)
""",
    "pool_of_threads": """
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(8) as pool: print(sum(pool.map(lambda n: n * n, range(4))) * 3)
""",
    "deep_in_a_thread": """
import sys, threading
sys.setrecursionlimit(200000); threading.stack_size(128 << 20)
def depth(n): return 0 if n == 0 else 1 + depth(n - 1)
thread = threading.Thread(target=lambda: print(depth(20042) - 20000)); thread.start(); thread.join()
""",
    "locks_and_conditions": """
import threading
condition, ready = threading.Condition(), []
def work():
    with condition: ready.append(42); condition.notify()
threading.Thread(target=work).start()
with condition: condition.wait_for(lambda: ready, 5)
print(ready[0])
""",
    "timers": """
import threading, signal, time
signal.signal(signal.SIGALRM, lambda *_: print(42)); signal.setitimer(signal.ITIMER_REAL, 0.01); signal.pause()
threading.Timer(0.01, int).start()
""",
    "events": """
import select, os
r, w = os.pipe(); poll = select.epoll(); poll.register(r, select.EPOLLIN); os.write(w, b'x')
print(41 + len(poll.poll(1)))
""",
    "memory_maps": """
import mmap
with mmap.mmap(-1, 1 << 20) as memory:
    memory.madvise(mmap.MADV_SEQUENTIAL); memory.madvise(mmap.MADV_DONTNEED); memory[:2] = b'42'; memory.flush()
    print(memory[:2].decode())
""",
    "output_is_flushed_to_disk": "import os\nprint(42, flush=True); os.fsync(1); os.fdatasync(1)",
    "database": """
import sqlite3
db = sqlite3.connect(':memory:')
db.execute('create table t (x)'); db.executemany('insert into t values (?)', [(40,), (2,)])
print(db.execute('select sum(x) from t').fetchone()[0])
""",
    "imports_that_know_processes": """
import subprocess, multiprocessing, concurrent.futures, socketserver, http.client
print(42)
""",
}  # fmt: skip
WITH_A_SCRATCH = {
    "copies": """
import shutil
open('a', 'w').write('42'); shutil.copyfile('a', 'b'); shutil.move('b', 'c')
print(open('c').read())
""",
    "file_locks": """
import fcntl
with open('a', 'w+') as file:
    fcntl.flock(file, fcntl.LOCK_EX); fcntl.lockf(file, fcntl.LOCK_EX)
    fcntl.lockf(file, fcntl.LOCK_UN); fcntl.flock(file, fcntl.LOCK_UN)
print(42)
""",
    "database_in_a_file": """
import sqlite3
db = sqlite3.connect('data.db')
db.execute('create table t (x)'); db.execute('insert into t values (42)'); db.commit(); db.close()
print(sqlite3.connect('data.db').execute('select x from t').fetchone()[0])
""",
    "temporary_files": """
import tempfile, os
with tempfile.NamedTemporaryFile('w+') as file:
    file.write('42'); file.flush(); os.fsync(file.fileno()); file.seek(0); print(file.read())
""",
    "maps_a_file": """
import mmap
open('a', 'w').write('..' * 100)
with open('a', 'r+b') as file, mmap.mmap(file.fileno(), 0) as memory: memory[:2] = b'42'; memory.flush()
print(open('a').read(2))
""",
}  # fmt: skip


@pytest.fixture(scope="module", params=list(IsolationTier)[:2])
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    with sandbox_of(request.param, size=2) as sandbox:
        yield sandbox


def test_honest_programs_go_on(sandbox: Sandbox) -> None:
    table = EVERYWHERE | (WITH_A_SCRATCH if sandbox.spec.tier is IsolationTier.BUBBLEWRAP else {})
    results = sandbox.run([script(source, "", Limits()) for source in table.values()])
    failed = {
        name: (result.ending, result.stdout, result.stderr[-300:])
        for name, result in zip(table, results, strict=True)
        if (result.ending, result.stdout) != (Ending.FINISHED, b"42\n")
    }
    assert failed == {}
