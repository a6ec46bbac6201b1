"""What a greeting must do."""

import unittest
from datetime import time
from pathlib import Path

from greeter import greet


class GreetingTest(unittest.TestCase):
    """One hour each, and the names that need care."""

    def test_morning(self) -> None:
        """Before noon it is morning."""
        self.assertEqual(greet("Ada", time(8)), "Good morning, Ada!")

    def test_evening(self) -> None:
        """From six on it is evening."""
        self.assertEqual(greet("Grace", time(18)), "Good evening, Grace!")

    def test_names_keep_their_letters(self) -> None:
        """Names are text, not ASCII."""
        self.assertEqual(greet(" Jürgen ✓ ", time(13)), "Good afternoon, Jürgen ✓!")

    def test_nobody(self) -> None:
        """Nobody cannot be greeted."""
        with self.assertRaises(ValueError):
            greet(" ", time(13))

    @classmethod
    def tearDownClass(cls) -> None:
        """Leave a report behind: the demo keeps it as an artifact."""
        Path("report.txt").write_text("greeter: 4 greetings tested\n", encoding="utf-8")
