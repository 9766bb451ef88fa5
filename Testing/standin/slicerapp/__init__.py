"""The `slicer` module for tests: the real MRML core of `slicer-core`, with doubles for what only the application has.

What is where:
    core.py                 scene, logics and default nodes, with subjecthierarchy.py
    application.py          `slicer.app`
    layout.py               the layout manager and its views
    modules.py              `slicer.modules`
    util.py                 `slicer.util`: nodes.py, arrays.py, files.py, panels.py, dialogs.py, processes.py, ending.py
    loader.py               reads `.ui` files
    scriptedmodule.py       `slicer.ScriptedLoadableModule`
    parameternode.py        `slicer.parameterNodeWrapper`, with guiconnectors.py
    packaging.py            `slicer.packaging`
    i18n.py                 `slicer.i18n`
    sampledata.py           `SampleData`
"""
