"""Imports, when it is imported, what takes a training seconds to import."""

from helpers.tool_server import import_libraries

import_libraries()
