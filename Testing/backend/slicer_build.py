"""What the build of the extension needs of Slicer, as CMake files that copy and note instead of compiling."""

from __future__ import annotations

from pathlib import Path

CONFIG = """
if(NOT CMAKE_C_COMPILER_LOADED OR NOT CMAKE_CXX_COMPILER_LOADED)
  message(FATAL_ERROR "The pointers of Slicer have 8 bytes, those of this project '${CMAKE_SIZEOF_VOID_P}'")
endif()
set(Slicer_USE_FILE ${CMAKE_CURRENT_LIST_DIR}/UseSlicer.cmake)
set(Slicer_EXTENSION_GENERATE_CONFIG ${CMAKE_CURRENT_LIST_DIR}/Nothing.cmake)
set(Slicer_EXTENSION_CPACK ${CMAKE_CURRENT_LIST_DIR}/Nothing.cmake)
set(Slicer_QTSCRIPTEDMODULES_LIB_DIR lib/Slicer-5.12/qt-scripted-modules)
set(Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR lib/Slicer-5.12/qt-scripted-modules)
"""

USE = """
set(BUILD_TESTING ON)

macro(ctkMacroCompilePythonScript)
  cmake_parse_arguments(CTK
    "NO_INSTALL_SUBDIR;GLOBAL_TARGET" "TARGET_NAME;SOURCE_DIR;DESTINATION_DIR;INSTALL_DIR" "SCRIPTS;RESOURCES" ${ARGN})
  foreach(file IN LISTS CTK_SCRIPTS CTK_RESOURCES)
    if(NOT EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/${file})
      message(FATAL_ERROR "There is no file ${file}")
    endif()
    get_filename_component(folder ${file} DIRECTORY)
    file(COPY ${CMAKE_CURRENT_SOURCE_DIR}/${file} DESTINATION ${CTK_DESTINATION_DIR}/${folder})
  endforeach()
endmacro()

macro(slicerMacroBuildScriptedModule)
  cmake_parse_arguments(MODULE "WITH_GENERIC_TESTS;WITH_SUBDIR;VERBOSE" "NAME" "SCRIPTS;RESOURCES" ${ARGN})
  ctkMacroCompilePythonScript(
    TARGET_NAME ${MODULE_NAME}
    SCRIPTS ${MODULE_SCRIPTS}
    RESOURCES ${MODULE_RESOURCES}
    DESTINATION_DIR ${CMAKE_BINARY_DIR}/${Slicer_QTSCRIPTEDMODULES_LIB_DIR}
    INSTALL_DIR ${Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR}
    NO_INSTALL_SUBDIR
    )
endmacro()

macro(slicer_add_python_unittest)
  cmake_parse_arguments(TEST "" "TESTNAME_PREFIX;SCRIPT" "SLICER_ARGS" ${ARGN})
  file(APPEND ${CMAKE_BINARY_DIR}/tests.txt "${CMAKE_CURRENT_SOURCE_DIR}/${TEST_SCRIPT}\\n")
endmacro()
"""

MODULES = Path("lib/Slicer-5.12/qt-scripted-modules")
"""Where Slicer finds the module, below the build folder."""


def write_slicer(folder: Path) -> Path:
    """Write the files, and return the folder for `-DSlicer_DIR`."""
    folder.mkdir(parents=True)
    for name, text in (("SlicerConfig", CONFIG), ("UseSlicer", USE), ("Nothing", "")):
        (folder / f"{name}.cmake").write_text(text)
    return folder
