"""The `qt` module of Slicer, which is PythonQt, on top of PySide6.

PythonQt gives Python one thin wrapper per C++ object. So does this package: `qt.QPushButton("Go")` is an
`InstanceWrapper` that holds a PySide6 object; its attributes are looked up in the meta object of that object, and every
value is converted on its way in and out. A wrapper per object, instead of patched PySide6 classes, is what makes the
unpleasant parts come out as in Slicer: properties are not callable, unknown attributes cannot be set, `isinstance`
knows no base classes, lists come back as tuples and enumerators are integers.

    values.py     what happens to a value on its way from Python to Qt and back
    enums.py      enumerators as integers that remember where they came from
    members.py    what a name means on a Qt class: property, method, signal, enumerator
    methods.py    calling a method, with overloads
    signals.py    connecting by signature or through the signal attribute
    instance.py   the wrapper of one object
    classes.py    the wrapper of one class, and Python classes derived from it
    namespace.py  the module `qt`
"""
