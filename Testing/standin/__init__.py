"""Slicer without Slicer: what lets the module's code run, and be tested and pictured, in an ordinary Python.

    import standin
    standin.install()          # before anything imports slicer, qt or ctk; inside Slicer it does nothing
    import slicer, qt, ctk, vtk

* `qt` is PySide6 that behaves as PythonQt (`pythonqt/`); `ctk` and the qMRML widgets are doubles (`controls/`);
  `slicer` is the real MRML core of slicer-core with doubles for the application (`slicerapp/`).
* `install()` also puts the folder `SSLSegmentation` on `sys.path`, as Slicer does with a module's folder.
* Under pytest the conftest of the folder has called it: test files are plain `unittest` and import slicer and qt.
  Start a test from an empty scene with `slicer.mrmlScene.Clear(0)` in `setUp`, as in Slicer.
* `.ui` files: `slicer.util.loadUI(path)`, `slicer.util.childWidgetVariables(widget)`. A ctk or qMRML class in a `.ui`
  file that has no double raises: add one to `controls/`.
* Nothing is shown and nobody is asked: `slicer.util.messages` lists what `errorDisplay`, `infoDisplay`, … said;
  confirmations answer False, as in Slicer's testing mode.
* An exception in a slot is printed and the program goes on, as in Slicer; `standin.slotErrors()` returns (and forgets)
  the tracebacks, and the conftest fails a test that left one, or that left one in an observer of a node.
* Pictures: `standin.rendering` has `renderSlice`, `render3D`, `renderViews` for the scene and `grabWidget` for a panel,
  in the light and the dark palette, 400 pixels wide.
* `python -m standin --python-script FILE -- ARGS` runs a script as `Slicer --no-main-window` does.
* A folder of tests needs a `conftest.py` with `from standin.fixtures import no_error_in_a_slot`.
* Wait for something with `standin.processEvents(milliseconds)`, or in code that also runs inside Slicer with
  `slicer.app.processEvents()`.
"""

from .install import install, processEvents, slicerIsHere, slotErrors

__all__ = ["install", "processEvents", "slicerIsHere", "slotErrors"]
