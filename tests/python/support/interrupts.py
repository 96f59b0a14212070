"""Signals that come while a program waits for a generation, however late its threads run."""

from __future__ import annotations

INTERRUPT_WAIT = '''
import inspect, os, signal, sys, threading, time
from specbranch_cpp import Generation

def interrupt_wait(number=signal.SIGINT, begins=lambda: True):
    """Sends a signal when the main thread waits for an output, and the function is true."""
    lines, first = inspect.getsourcelines(Generation._output)
    line = first + next(i for i, text in enumerate(lines) if "_core.get(" in text)
    main = threading.get_ident()

    def strike():
        while True:
            time.sleep(0.001)
            if begins():
                frame = sys._current_frames()[main]
                if (frame.f_code.co_name, frame.f_lineno) == ("_output", line):
                    os.kill(os.getpid(), number)
                    return

    threading.Thread(target=strike, daemon=True).start()
'''
"""The source of ``interrupt_wait``, for programs that have a process of their own."""
