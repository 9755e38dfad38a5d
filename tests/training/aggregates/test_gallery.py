from pathlib import Path

from PIL import Image

from training.aggregates.gallery import draw_gallery


def test_the_same_seed_draws_the_same_picture(tmp_path: Path) -> None:
    for name in ("one.png", "two.png"):
        draw_gallery(tmp_path / name, 3)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    with Image.open(tmp_path / "one.png") as picture:
        assert picture.width > 600
