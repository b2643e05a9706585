from __future__ import annotations

import errno
import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from sweeper.config.dataset import DatasetConfig, LimitConfig
from sweeper.data import cache, decode_all, steady
from sweeper.data.card import describe
from sweeper.data.image_set import ImageSet
from sweeper.data.prepare import prepare_images
from sweeper.errors import DatasetError
from sweeper.paths import Workspace
from tests.data.test_steady import Unsteady
from tests.pictures import encoded, picture, write_picture, write_split_folders

BUILDER = """
import sys, time
from pathlib import Path
from sweeper.config.dataset import DatasetConfig
from sweeper.data import decode_all
from sweeper.data.prepare import prepare_images
from sweeper.paths import Workspace

decode_all.PARALLEL_FROM_BYTES = int(sys.argv[3])
decode_all.CHUNK_IMAGES = 2

def slowly(done, total):
    print(done, total, flush=True)
    time.sleep(float(sys.argv[4]))

if __name__ == "__main__":
    print(prepare_images(DatasetConfig(path=sys.argv[1]), 8, Workspace(Path(sys.argv[2])), slowly).digest, flush=True)
    assert "torch" not in sys.modules
"""


def prepared(path: Path, workspace: Workspace, size: int = 8, **options: object) -> ImageSet:
    return prepare_images(DatasetConfig(path=str(path), **options), size, workspace)


def files(workspace: Workspace, suffix: str) -> list[str]:
    return sorted(path.name for path in workspace.cache.glob(f"*{suffix}"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_split_folders(tmp_path / "d")


@pytest.fixture
def no_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr(cache, "build_images", refuse)


def start_builder(
    folder: Path, workspace: Workspace, script: Path, parallel_from: int, pause: float
) -> subprocess.Popen[str]:
    script.write_text(BUILDER)
    command = [sys.executable, str(script), str(folder), str(workspace.root), str(parallel_from), str(pause)]
    path = os.pathsep.join(filter(None, [str(Path(decode_all.__file__).parents[2]), os.environ.get("PYTHONPATH")]))
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path})


def test_rows_hold_the_pixels_of_their_files(folder: Path, workspace: Workspace) -> None:
    images = prepared(folder, workspace, size=12)
    assert images.images.shape == (18, 12, 12, 3)
    assert images.images.dtype == np.uint8
    assert images.labels[images.splits["val"]].tolist() == [0, 0, 0, 1, 1, 1]
    first = np.asarray(picture(0, 12, 12))
    assert (images.images[images.splits["train"][0]] == first).all()


def test_second_open_decodes_nothing(folder: Path, workspace: Workspace, request: pytest.FixtureRequest) -> None:
    first = prepared(folder, workspace)
    request.getfixturevalue("no_decoding")
    second = prepared(folder, workspace)
    assert second.digest == first.digest
    assert (second.images == first.images).all()


def test_other_splits_and_labels_share_the_pixels(
    folder: Path, workspace: Workspace, request: pytest.FixtureRequest
) -> None:
    folder = folder / "train"
    first = prepared(folder, workspace)
    request.getfixturevalue("no_decoding")
    second = prepared(folder, workspace, split_seed=1, val_fraction=0.5)
    assert second.digest != first.digest


def test_stored_size_serves_every_image_size(
    folder: Path, workspace: Workspace, request: pytest.FixtureRequest
) -> None:
    assert prepared(folder, workspace, size=8, stored_size=10).image_size == 10
    request.getfixturevalue("no_decoding")
    assert prepared(folder, workspace, size=9, stored_size=10).image_size == 10


def test_sizes_and_resize_modes_are_kept_apart(folder: Path, workspace: Workspace) -> None:
    write_picture(folder / "train" / "cat" / "wide.png", 77, width=30, height=10)
    sets = [prepared(folder, workspace), prepared(folder, workspace, size=9), prepared(folder, workspace, resize="pad")]
    assert sets[0].digest == sets[1].digest == sets[2].digest
    assert len(files(workspace, ".npy")) == 3
    assert (sets[0].images != sets[2].images).any()


def test_changed_file_is_noticed(folder: Path, workspace: Workspace) -> None:
    first = prepared(folder, workspace)
    write_picture(folder / "train" / "cat" / "0000.png", seed=555)
    second = prepared(folder, workspace)
    assert second.digest != first.digest
    assert (second.images[0] != first.images[0]).any()
    assert (second.images[1:] == first.images[1:]).all()


def test_file_replaced_with_its_old_size_and_time_is_noticed(folder: Path, workspace: Workspace) -> None:
    changed = folder / "train" / "cat" / "0000.bmp"
    changed.write_bytes(encoded(picture(600), "BMP"))
    status = changed.stat()
    first = prepared(folder, workspace)
    changed.write_bytes(encoded(picture(601), "BMP"))
    os.utime(changed, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert changed.stat().st_size == status.st_size
    assert prepared(folder, workspace).digest != first.digest


def test_renewed_times_and_another_place_keep_the_digest(folder: Path, workspace: Workspace, tmp_path: Path) -> None:
    first = prepared(folder, workspace)
    os.utime(folder / "train" / "cat" / "0000.png", ns=(1, 1))
    assert prepared(folder, workspace).digest == first.digest
    folder.rename(tmp_path / "moved")
    assert prepared(tmp_path / "moved", workspace).digest == first.digest
    assert len(files(workspace, ".npy")) == 1


def test_added_and_removed_files_are_noticed(folder: Path, workspace: Workspace) -> None:
    first = prepared(folder, workspace)
    write_picture(folder / "val" / "dog" / "new.png", seed=9)
    assert len(prepared(folder, workspace).images) == len(first.images) + 1
    (folder / "val" / "dog" / "new.png").unlink()
    assert prepared(folder, workspace).digest == first.digest


@pytest.mark.parametrize("parallel_from", [0, 1 << 30])
def test_parallel_and_serial_builds_agree(
    folder: Path, workspace: Workspace, tmp_path: Path, parallel_from: int
) -> None:
    with start_builder(folder, workspace, tmp_path / "build.py", parallel_from, 0) as builder:
        lines = builder.communicate(timeout=60)[0].splitlines()
    assert builder.returncode == 0
    expected = prepared(folder, Workspace(tmp_path / "other"))
    assert lines[-1] == expected.digest
    assert sorted(int(line.split()[0]) for line in lines[:-1]) == list(range(2, 19, 2))
    assert (prepared(folder, workspace).images == expected.images).all()


@pytest.mark.parametrize("parallel_from", [0, 1 << 30])
def test_killed_build_leaves_nothing_that_is_taken_for_a_cache(
    folder: Path, workspace: Workspace, tmp_path: Path, parallel_from: int
) -> None:
    with start_builder(folder, workspace, tmp_path / "build.py", parallel_from, 30) as builder:
        assert builder.stdout is not None
        assert builder.stdout.readline()
        builder.send_signal(signal.SIGKILL)
    assert files(workspace, ".npy") == files(workspace, ".json") == []
    assert len(files(workspace, ".partial")) == 1
    images = prepared(folder, workspace)
    assert (images.images == prepared(folder, Workspace(tmp_path / "other")).images).all()
    assert files(workspace, ".partial") == []


def test_decoding_processes_end_when_their_parent_is_killed(folder: Path, workspace: Workspace, tmp_path: Path) -> None:
    psutil = pytest.importorskip("psutil")
    with start_builder(folder, workspace, tmp_path / "build.py", 0, 30) as builder:
        assert builder.stdout is not None
        assert builder.stdout.readline()
        children = psutil.Process(builder.pid).children(recursive=True)
        builder.send_signal(signal.SIGKILL)
    assert children
    assert psutil.wait_procs(children, timeout=20)[1] == []


def test_leftovers_of_other_killed_builds_are_swept_and_live_ones_kept(folder: Path, workspace: Workspace) -> None:
    import fcntl

    workspace.cache.mkdir(parents=True)
    (workspace.cache / "dead.123.partial").write_bytes(b"x")
    (workspace.cache / "live.456.partial").write_bytes(b"x")
    (workspace.cache / "dead.digests.part").write_bytes(b"x")
    (workspace.cache / "live.json.part").write_bytes(b"x")
    with (workspace.cache / "live.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        prepared(folder, workspace)
    assert files(workspace, ".partial") == ["live.456.partial"]
    assert files(workspace, ".part") == ["live.json.part"]


def test_concurrent_builders_agree_and_one_of_them_decodes(folder: Path, workspace: Workspace, tmp_path: Path) -> None:
    builders = [start_builder(folder, workspace, tmp_path / f"build{n}.py", 1 << 30, 0.1) for n in range(3)]
    outputs = [builder.communicate(timeout=60)[0].splitlines() for builder in builders]
    assert [builder.returncode for builder in builders] == [0, 0, 0]
    assert len({lines[-1] for lines in outputs}) == 1
    assert sum(len(lines) > 1 for lines in outputs) == 1
    assert len(files(workspace, ".npy")) == 1


def spoil(folder: Path) -> None:
    (folder / "train" / "cat" / "empty.jpg").write_bytes(b"")
    (folder / "train" / "cat" / "text.jpg").write_text("not a picture")
    (folder / "val" / "dog" / "cut.png").write_bytes(encoded(picture(8))[:200])
    (folder / "val" / "dog" / "gone.png").symlink_to(folder / "nowhere.png")


def test_bad_images_are_all_listed_and_leave_no_cache(folder: Path, workspace: Workspace) -> None:
    spoil(folder)
    with pytest.raises(DatasetError) as caught:
        prepared(folder, workspace)
    message = str(caught.value)
    assert "4 are not" in message
    assert "train/cat/empty.jpg: the file is empty" in message
    assert "train/cat/text.jpg: not an image" in message
    assert "val/dog/cut.png: damaged" in message
    assert "val/dog/gone.png: No such file" in message
    assert "on_bad_image: skip" in message
    assert files(workspace, ".npy") == files(workspace, ".json") == files(workspace, ".partial") == []


def test_skipped_images_leave_the_splits_and_are_logged(
    folder: Path, workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    whole = prepared(folder, workspace)
    spoil(folder)
    with caplog.at_level(logging.WARNING):
        images = prepared(folder, workspace, on_bad_image="skip")
    assert "left out 4 unreadable images" in caplog.text
    assert "text.jpg: not an image" in caplog.text
    for split, rows in whole.splits.items():
        assert (images.images[images.splits[split]] == whole.images[rows]).all()
        assert (images.labels[images.splits[split]] == whole.labels[rows]).all()


def test_cached_bad_images_are_an_error_again_when_not_skipped(folder: Path, workspace: Workspace) -> None:
    spoil(folder)
    prepared(folder, workspace, on_bad_image="skip")
    with pytest.raises(DatasetError, match="4 are not"):
        prepared(folder, workspace)


def test_class_whose_training_images_are_all_skipped_is_named(folder: Path, workspace: Workspace) -> None:
    for image in (folder / "train" / "dog").iterdir():
        image.write_bytes(b"")
    with pytest.raises(DatasetError, match=r"1 of 2 have none:\n  dog"):
        prepared(folder, workspace, on_bad_image="skip")


def test_many_bad_images_are_cut_at_twenty(folder: Path, workspace: Workspace) -> None:
    for number in range(30):
        (folder / "train" / "cat" / f"bad{number:02d}.png").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"(?s)30 are not.*and 10 more") as caught:
        prepared(folder, workspace)
    assert len(str(caught.value).splitlines()) == 23


def test_named_pipe_and_huge_file_are_refused_without_being_read(folder: Path, workspace: Workspace) -> None:
    os.mkfifo(folder / "train" / "cat" / "pipe.png")
    with (folder / "train" / "cat" / "huge.png").open("wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(DatasetError, match=r"huge.png: larger than 256 MiB\n.*pipe.png: not a regular file"):
        prepared(folder, workspace)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_unreadable_file_is_listed(folder: Path, workspace: Workspace) -> None:
    (folder / "train" / "cat" / "0000.png").chmod(0)
    with pytest.raises(DatasetError, match=r"0000.png: Permission denied"):
        prepared(folder, workspace)


@pytest.mark.parametrize("on_bad_image", ["error", "skip"])
def test_an_image_that_a_disk_does_not_give_is_no_bad_image(
    folder: Path,
    workspace: Workspace,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    on_bad_image: str,
) -> None:
    monkeypatch.setattr(steady, "WAITS_S", (0.0, 0.0))
    monkeypatch.setattr(decode_all, "open", Unsteady("0001.png", 9), raising=False)
    with pytest.raises(DatasetError, match=r"0001.png: the file cannot be read now \(Input/output error\)"):
        prepared(folder, workspace, on_bad_image=on_bad_image)
    monkeypatch.setattr(decode_all, "open", Unsteady("0001.png", 2), raising=False)
    with caplog.at_level(logging.WARNING, "sweeper"):
        prepared(folder, workspace, on_bad_image=on_bad_image)
    assert "left out" not in caplog.text


def test_full_disk_is_reported_and_leaves_nothing(
    folder: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(DatasetError, match=r"No space left on device.*free some space"):
        prepared(folder, workspace)
    assert files(workspace, ".partial") == []


def test_file_changed_while_decoding_is_reported(folder: Path, workspace: Workspace) -> None:
    def change(done: int, total: int) -> None:
        write_picture(folder / "train" / "cat" / "0000.png", seed=time.time_ns() % 1000)

    with pytest.raises(DatasetError, match="files changed while"):
        prepare_images(DatasetConfig(path=str(folder)), 8, workspace, change)
    assert files(workspace, ".npy") == []


@pytest.mark.parametrize("damage", ["{", '{"digest": "../../x", "bad": []}', '{"digest": 3}', "[]"])
def test_damaged_entry_is_built_again(folder: Path, workspace: Workspace, damage: str) -> None:
    first = prepared(folder, workspace)
    (entry,) = workspace.cache.glob("*.json")
    entry.write_text(damage)
    assert prepared(folder, workspace).digest == first.digest
    assert json.loads(entry.read_text())["bad"] == []


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY\x01\x00", b"no array at all"])
def test_damaged_images_are_built_again(folder: Path, workspace: Workspace, damage: bytes) -> None:
    first = np.array(prepared(folder, workspace).images)
    (images,) = workspace.cache.glob("*.npy")
    images.write_bytes(damage)
    assert (prepared(folder, workspace).images == first).all()


def test_limited_data_decodes_only_what_it_uses(folder: Path, workspace: Workspace) -> None:
    images = prepared(folder, workspace, limit=LimitConfig(train_images=4, val_images=2))
    assert len(images.images) == 6


def test_card_counts_images_by_split_and_class(folder: Path, workspace: Workspace) -> None:
    write_picture(folder / "train" / "dog" / "more.png", 50)
    card = describe(prepared(folder, workspace), "pets")
    assert card.images == {"train": 13, "val": 6}
    assert card.class_counts == {"train": (6, 7), "val": (3, 3)}
    assert card.classes == ("cat", "dog")
    assert len(card.digest) == 32
    assert json.dumps(card.class_counts)
