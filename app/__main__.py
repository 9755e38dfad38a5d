"""Entry of `python -m app`."""

from app.threads import take_one_thread

take_one_thread()  # before NumPy is imported

from app.cli import main  # noqa: E402

main()
