"""How often a picture is drawn."""

from streams.watch.pace import Pace


class Machine:
    """A clock, and processor time that passes while something is drawn."""

    def __init__(self) -> None:
        self.now = self.worked = 0.0

    def draw(self, seconds: float) -> None:
        self.now += seconds
        self.worked += seconds


def test_drawing_takes_its_share_and_no_more() -> None:
    """A picture of 10 ms comes five times a second, one of 100 ms every two seconds."""
    machine = Machine()
    pace = Pace(0.05, lambda: machine.now, lambda: machine.worked)
    assert pace.due()
    pace.draw(lambda: machine.draw(0.01))
    machine.now = 0.19
    assert not pace.due()
    machine.now = 0.2
    assert pace.due()
    pace.draw(lambda: machine.draw(0.1))
    machine.now = 2.1
    assert not pace.due()
    machine.now = 2.2
    assert pace.due()


def test_waiting_for_the_terminal_is_no_work() -> None:
    """A slow reader costs nothing: the next picture is not put off."""
    machine = Machine()
    pace = Pace(0.05, lambda: machine.now, lambda: machine.worked)

    def wait() -> None:
        machine.now += 3.0

    pace.draw(wait)
    assert pace.due()
