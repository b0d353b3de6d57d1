"""Order and bounds of work in threads."""

import threading

import pytest

from common.runtime.parallel import available_cpus, parallel_map


def test_results_are_in_the_order_of_the_items_whatever_ends_first():
    released = threading.Event()

    def wait(number):
        # The first item cannot end before the second one has, where there are two threads for them.
        if number == 1:
            released.set()
        elif number == 0 and available_cpus() > 1:
            assert released.wait(30)
        return number * 10

    assert list(parallel_map(wait, range(5))) == [0, 10, 20, 30, 40]


def test_few_items_are_read_ahead():
    read = []

    def items():
        for number in range(1000):
            read.append(number)
            yield number

    results = parallel_map(lambda number: number, items())
    assert next(results) == 0
    assert len(read) <= available_cpus() + 1
    results.close()


def test_an_error_of_the_function_and_of_the_items_arrives():
    with pytest.raises(ZeroDivisionError):
        list(parallel_map(lambda number: 1 // number, [1, 0]))

    def items():
        yield 1
        raise KeyError("items")

    with pytest.raises(KeyError):
        list(parallel_map(lambda number: number, items()))
