"""All configuration objects together → one Configuration, the last good version of each. Pure.

    compile(objects, previous, ignore_exclude_label=False) -> Compiled

In:  objects in any order; the Configuration in force (after a restart read back from SpeakerConfiguration;
     Configuration(installation=...) when there is none).
Out: Compiled. `configuration` carries previous' installation and sequence: whoever writes it counts up.
"""

from msgspec import Struct

from metalbgp.config.objects import Objects
from metalbgp.model.configuration import Configuration
from metalbgp.model.reasons import Invalid, NotInForce


class Compiled(Struct, frozen=True):
    configuration: Configuration
    invalid: tuple[
        Invalid, ...
    ] = ()  # the object keeps its last good version
    not_in_force: tuple[NotInForce, ...] = ()  # accepted, and nothing implements it yet


def compile(objects: Objects, previous: Configuration, *, ignore_exclude_label: bool = False) -> Compiled:
    raise NotImplementedError  # replaced by the next commit: the signature stands first, others build on it
