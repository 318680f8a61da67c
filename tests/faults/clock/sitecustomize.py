"""For processes under libfaketime, which refuses the absolute sleeps of Python: sleep by waiting for nothing."""

import select
import time


def sleep(seconds):
    select.select((), (), (), seconds)


time.sleep = sleep
