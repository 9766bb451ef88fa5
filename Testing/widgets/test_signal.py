"""Signals call whoever is connected, in order, whatever one of them does."""

from __future__ import annotations

import unittest

from SSLSegmentationLib.logic.Signal import Signal


class SignalTest(unittest.TestCase):
    def setUp(self) -> None:
        self.signal, self.heard = Signal(), []

    def test_receivers_hear_the_arguments_in_the_order_they_were_connected(self) -> None:
        self.signal.connect(lambda value: self.heard.append(("first", value)))
        self.signal.connect(lambda value: self.heard.append(("second", value)))
        self.signal.emit(3)
        self.assertEqual(self.heard, [("first", 3), ("second", 3)])

    def test_a_receiver_is_called_once_however_often_it_is_connected(self) -> None:
        for _ in range(2):
            self.signal.connect(self.heard.append)
        self.signal.emit(1)
        self.assertEqual(self.heard, [1])

    def test_a_receiver_that_leaves_hears_nothing_more_even_while_others_are_called(self) -> None:
        def leave(value: int) -> None:
            self.signal.disconnect(self.heard.append)

        self.signal.connect(leave)
        self.signal.connect(self.heard.append)
        self.signal.emit(1)
        self.signal.disconnect(leave)
        self.signal.disconnect(leave)
        self.assertEqual(self.heard, [])

    def test_a_receiver_that_fails_does_not_keep_the_others_from_hearing(self) -> None:
        def fail(value: int) -> None:
            raise ValueError("broken")

        self.signal.connect(fail)
        self.signal.connect(self.heard.append)
        with self.assertRaisesRegex(ValueError, "broken"):
            self.signal.emit(1)
        self.assertEqual(self.heard, [1])
