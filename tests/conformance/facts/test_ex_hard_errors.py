"""Facts of hard errors, where no box needs an answer."""

from __future__ import annotations

from typing import Any

from ntsim.wdm import *

from .fact import KMTESTS, Facts, as_tests, raised, variable

ERRORS = Facts(f"{KMTESTS}/ntos_ex/ExHardError.c")
NO_RESPONSE, RETURN_TO_CALLER, NOT_HANDLED = 27, 0, 1
YES_NO_CANCEL = 5
STRING = "Parameter1"


def raise_error(status: int, mask: int, options: int, *parameters: int) -> tuple[int, int, int]:
    """(status, exception, response)"""
    words = cast(ExAllocatePoolZero(PagedPool, 48, 1), PULONGLONG)
    for index, word in enumerate(parameters):
        words[index] = word
    response, results = variable(ULONG, NO_RESPONSE), [0]

    def call() -> None:
        results[0] = ExRaiseHardError(
            status, len(parameters), mask, words, options, response
        )  # fmt: skip

    exception = raised(call)
    return results[0], exception, response[0]


@ERRORS.fact((STATUS_SUCCESS, 0, NOT_HANDLED), option=[9, 10, 11, 12, 0x80000000, 0xFFFFFFFF])
def an_option_that_is_none_is_not_handled(option: int) -> tuple[int, int, int]:
    return raise_error(0x40000009, 0, option)


@ERRORS.fact((STATUS_SUCCESS, 0, NOT_HANDLED), mask=[0, 1], count=[0, 1, 2])
def a_service_notification_wants_three_parameters(mask: int, count: int) -> tuple[int, int, int]:
    text = int(UNICODE_STRING(STRING))
    return raise_error(STATUS_SERVICE_NOTIFICATION, mask, YES_NO_CANCEL, *[text] * count)


@ERRORS.fact((0, STATUS_ACCESS_VIOLATION, NO_RESPONSE), parameter=[0, 1234])
def a_parameter_that_should_be_a_string_is_read(parameter: int) -> tuple[int, int, int]:
    return raise_error(STATUS_SERVICE_NOTIFICATION, 1, YES_NO_CANCEL, parameter)


@ERRORS.fact([True, True, False, False])
def IoSetThreadHardErrorMode_returns_the_mode_of_before() -> list[bool]:
    modes = (TRUE, FALSE, FALSE, TRUE)
    return [bool(IoSetThreadHardErrorMode(mode)) for mode in modes]


@ERRORS.fact([(STATUS_SUCCESS, 0, RETURN_TO_CALLER), (0, STATUS_ACCESS_VIOLATION, NO_RESPONSE)])
def a_thread_without_hard_errors_goes_on_at_once_but_strings_are_read() -> list[Any]:
    IoSetThreadHardErrorMode(FALSE)
    plain = raise_error(STATUS_FATAL_APP_EXIT, 0, YES_NO_CANCEL)
    wrong = raise_error(STATUS_FATAL_APP_EXIT, 1, YES_NO_CANCEL, 0)
    return [plain, wrong]


INFORMATION = [
    (STATUS_WAIT_0, False), (STATUS_DLL_NOT_FOUND, True), (STATUS_DLL_NOT_FOUND, False),
    (STATUS_SERVICE_NOTIFICATION, True),
]  # fmt: skip


@ERRORS.fact([True, True, True, False, False, False, False, False])
def only_a_thread_with_hard_errors_queues_a_box_and_never_for_a_service() -> list[bool]:
    seen = []
    for mode in (TRUE, FALSE):
        IoSetThreadHardErrorMode(mode)
        for status, with_string in INFORMATION:
            text = UNICODE_STRING(STRING) if with_string else NULL
            seen.append(bool(IoRaiseInformationalHardError(status, text, NULL)))
    return seen


test_fact = as_tests(ERRORS)
