"""`SampleData`: data sets that modules register."""

from __future__ import annotations

from typing import Any, ClassVar


class SampleDataSource:
    """One data set. `customDownloader(source)` makes or fetches it."""

    def __init__(
        self,
        sampleName: str | None = None,
        sampleDescription: str | None = None,
        uris: Any = None,
        fileNames: Any = None,
        nodeNames: Any = None,
        checksums: Any = None,
        loadFiles: Any = None,
        customDownloader: Any = None,
        thumbnailFileName: str | None = None,
        loadFileType: Any = None,
        loadFileProperties: Any = None,
    ) -> None:
        self.sampleName = sampleName
        self.sampleDescription = sampleDescription or sampleName
        self.uris = uris
        self.fileNames = fileNames
        self.nodeNames = nodeNames
        self.checksums = checksums
        self.loadFiles = loadFiles
        self.customDownloader = customDownloader
        self.thumbnailFileName = thumbnailFileName
        self.loadFileType = loadFileType
        self.loadFileProperties = loadFileProperties or {}


class SampleDataLogic:
    sources: ClassVar[dict[str, list[SampleDataSource]]] = {}
    """Registered data sets by category; the real one keeps them in `slicer.modules.sampleDataSources`."""

    @staticmethod
    def registerCustomSampleDataSource(category: str = "Custom", **keywords: Any) -> None:
        SampleDataLogic.sources.setdefault(category, []).append(SampleDataSource(**keywords))

    @staticmethod
    def sampleDataSourcesByCategory(category: str | None = None) -> Any:
        return SampleDataLogic.sources if category is None else SampleDataLogic.sources.get(category, [])

    def downloadFromSource(self, source: SampleDataSource) -> Any:
        if source.customDownloader is None:
            raise RuntimeError("The stand-in downloads nothing")
        return source.customDownloader(source)

    def downloadSample(self, sampleName: str) -> Any:
        for sources in self.sources.values():
            for source in sources:
                if source.sampleName == sampleName:
                    return self.downloadFromSource(source)
        raise RuntimeError(f"Sample data not found: {sampleName}")
