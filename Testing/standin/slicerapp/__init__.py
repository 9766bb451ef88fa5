"""The `slicer` module for tests: the real MRML core of `slicer-core`, with doubles for what only the application has.

core.py                 scene, logics and default nodes
application.py          `slicer.app`
layout.py               the layout manager and its views
modules.py              `slicer.modules`
util.py                 `slicer.util`, collected from nodes.py, arrays.py, files.py, panels.py, dialogs.py, processes.py
scriptedmodule.py       `slicer.ScriptedLoadableModule`
parameternode.py        `slicer.parameterNodeWrapper`, with guiconnectors.py
packaging.py            `slicer.packaging`
sampledata.py           `SampleData`
"""
