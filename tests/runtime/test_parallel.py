"""Order and bounds of work in threads."""

import threading

import pytest

from common.runtime.parallel import in_parallel, processors


def test_results_are_in_the_order_of_the_items_whatever_ends_first():
    released = threading.Event()

    def wait(number):
        # The first item cannot end before the second one has, where there are two threads for them.
        if number == 1:
            released.set()
        elif number == 0 and processors() > 1:
            assert released.wait(30)
        return number * 10

    assert list(in_parallel(wait, range(5))) == [0, 10, 20, 30, 40]


def test_few_items_are_read_ahead():
    read = []

    def items():
        for number in range(1000):
            read.append(number)
            yield number

    results = in_parallel(lambda number: number, items())
    assert next(results) == 0
    assert len(read) <= processors() + 1
    results.close()


def test_an_error_of_the_function_and_of_the_items_arrives():
    with pytest.raises(ZeroDivisionError):
        list(in_parallel(lambda number: 1 // number, [1, 0]))

    def items():
        yield 1
        raise KeyError("items")

    with pytest.raises(KeyError):
        list(in_parallel(lambda number: number, items()))
