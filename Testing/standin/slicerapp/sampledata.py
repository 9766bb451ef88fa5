"""`SampleData`: data sets that modules register."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar


class SampleDataSource:
    """One data set: files to fetch, or `customDownloader(source)`, which a click in the module's panel calls."""

    def __init__(
        self,
        sampleName: str | None = None,
        sampleDescription: str | None = None,
        uris: Any = None,
        fileNames: Any = None,
        nodeNames: Any = None,
        checksums: Any = None,
        loadFiles: Any = None,
        customDownloader: Callable[[SampleDataSource], Any] | None = None,
        thumbnailFileName: str | None = None,
        loadFileTypes: Any = None,
        loadFileProperties: Any = None,
        loadFileType: Any = None,
    ) -> None:
        self.sampleName = sampleName
        self.sampleDescription = sampleDescription or sampleName
        self.uris = [uris] if isinstance(uris, str) else uris
        parts = (fileNames, nodeNames, checksums, loadFiles)
        lists = [self._listed(values) for values in parts]
        self.fileNames, self.nodeNames, self.checksums, self.loadFiles = lists
        if any(len(values) != len(self.uris) for values in lists):
            raise ValueError(f"Inconsistent number of files, nodes, checksums for {sampleName}")
        self.customDownloader = customDownloader
        self.thumbnailFileName = thumbnailFileName
        self.loadFileTypes = self._listed(loadFileTypes or loadFileType)
        self.loadFileProperties = loadFileProperties or {}

    def _listed(self, values: Any) -> list[Any]:
        """One value for each address."""
        return list(values) if isinstance(values, (list, tuple)) else [values] * len(self.uris)


class SampleDataLogic:
    sources: ClassVar[dict[str, list[SampleDataSource]]] = {}
    """Registered data sets by category; the real one keeps them in `slicer.modules.sampleDataSources`."""

    @staticmethod
    def registerCustomSampleDataSource(
        category: str = "Custom",
        sampleName: str | None = None,
        uris: Any = None,
        fileNames: Any = None,
        nodeNames: Any = None,
        customDownloader: Callable[[SampleDataSource], Any] | None = None,
        thumbnailFileName: str | None = None,
        loadFileTypes: Any = None,
        loadFiles: Any = None,
        loadFileProperties: Any = None,
        checksums: Any = None,
        loadFileType: Any = None,
    ) -> None:
        source = SampleDataSource(
            sampleName,
            sampleName,
            uris,
            fileNames,
            nodeNames,
            checksums,
            loadFiles,
            customDownloader,
            thumbnailFileName,
            loadFileTypes,
            loadFileProperties,
            loadFileType,
        )
        SampleDataLogic.sources.setdefault(category, []).append(source)

    @staticmethod
    def sampleDataSourcesByCategory(category: str | None = None) -> Any:
        return SampleDataLogic.sources if category is None else SampleDataLogic.sources.get(category, [])

    def downloadFromSource(self, source: SampleDataSource) -> Any:
        """Fetch files; `customDownloader` is for the panel only."""
        raise RuntimeError("The stand-in downloads nothing")
