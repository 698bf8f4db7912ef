"""Partitions on many machines, with Ray. Needs the extra ``cluster``.

Membership, failure detection, placement and restart are Ray's; what was derived, how far, and who may say
so is the store's. A process more costs about 100 MB: read the README before you want it.
"""

from streams.cluster.owner import Owner, OwnerStatus
from streams.cluster.placement import partition_of
from streams.cluster.scale_out import Cluster, ScaleOut
from streams.cluster.supervision import Placed

__all__ = ["Cluster", "Owner", "OwnerStatus", "Placed", "ScaleOut", "partition_of"]
