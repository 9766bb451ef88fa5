"""The cache is counted and removed a little at a time, and never while a job needs it."""

from __future__ import annotations

import shutil
import tempfile
import time
import unittest
from pathlib import Path

from job_doubles import make_cohort
from SSLSegmentationLib.logic.CacheFolder import CacheFolder, sizeWords

from sslseg.contract.cohort import Cohort
from sslseg.contract.errors import SSLSegError
from sslseg.contract.jobs import Job
from sslseg.contract.settings import PredictSettings


class CacheFolderTest(unittest.TestCase):
    def setUp(self) -> None:
        self.folder = make_cohort(Path(tempfile.mkdtemp()))
        self.addCleanup(shutil.rmtree, self.folder)
        self.cohort = Cohort.read(self.folder)
        for name in ("a/one.npy", "a/b/two.npy", "three.json"):
            path = self.folder / "cache" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(bytes(1000))

    def _finish(self, cache: CacheFolder) -> int:
        polls = 0
        while cache.isBusy:
            cache.poll()
            polls += 1
        return polls

    def test_the_size_is_that_of_all_files(self) -> None:
        cache = CacheFolder(self.cohort)
        cache.startCounting()
        self._finish(cache)
        self.assertEqual(cache.size, 3000)

    def test_removing_leaves_nothing_of_the_cache_and_everything_else(self) -> None:
        cache = CacheFolder(self.cohort)
        cache.startRemoving()
        self.assertFalse((self.folder / "cache").exists(), "whoever starts now finds half a cache")
        self._finish(cache)
        self.assertEqual([path.name for path in self.folder.iterdir() if path.is_dir()], [])
        self.assertTrue((self.folder / "cohort.json").exists())

    def test_what_an_interrupted_removal_left_behind_is_counted_and_removed(self) -> None:
        cache = CacheFolder(self.cohort, sliceSeconds=0.0)
        cache.startRemoving()
        again = CacheFolder(self.cohort)
        again.startCounting()
        self._finish(again)
        self.assertEqual(again.size, 3000)
        again.startRemoving()
        self._finish(again)
        self.assertEqual([path.name for path in self.folder.iterdir() if path.is_dir()], [])

    def test_a_link_in_the_cache_is_removed_and_what_it_points_to_stays(self) -> None:
        outside = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, outside)
        (outside / "precious.txt").write_text("keep me")
        (self.folder / "cache" / "link").symlink_to(outside, target_is_directory=True)
        cache = CacheFolder(self.cohort)
        cache.startCounting()
        self._finish(cache)
        cache.startRemoving()
        self._finish(cache)
        self.assertEqual((outside / "precious.txt").read_text(), "keep me")

    def test_a_cache_that_a_job_uses_stays(self) -> None:
        job = Job.create(self.folder, PredictSettings(model="first"))
        cache = CacheFolder(self.cohort)
        with job.running(), self.assertRaisesRegex(SSLSegError, "predict-0001 is using the cache"):
            cache.startRemoving()
        self.assertTrue((self.folder / "cache" / "three.json").exists())
        cache.startRemoving()
        self._finish(cache)

    def test_no_cache_is_no_error(self) -> None:
        shutil.rmtree(self.folder / "cache")
        cache = CacheFolder(self.cohort)
        cache.startCounting()
        self._finish(cache)
        self.assertEqual(cache.size, 0)
        cache.startRemoving()
        self._finish(cache)

    def test_one_poll_of_a_large_cache_takes_milliseconds(self) -> None:
        for index in range(3000):
            (self.folder / "cache" / "a" / f"{index}.npy").touch()
        cache = CacheFolder(self.cohort)
        longest, polls = 0.0, 0
        for start in (cache.startCounting, cache.startRemoving):
            start()
            while cache.isBusy:
                begun = time.process_time()  # of this process alone: others may keep the computer busy
                cache.poll()
                longest = max(longest, time.process_time() - begun)
                polls += 1
        self.assertLess(longest, 0.1)
        self.assertGreater(polls, 2)


class SizeWordsTest(unittest.TestCase):
    def test_sizes_are_said_as_people_say_them(self) -> None:
        cases = {0: "0 bytes", 999: "999 bytes", 1000: "1.0 kB", 3_400_000: "3.4 MB", 12_345_678_901: "12 GB"}
        for size, words in cases.items():
            self.assertEqual(sizeWords(size), words)
        self.assertEqual(sizeWords(5e15), "5000 TB")
