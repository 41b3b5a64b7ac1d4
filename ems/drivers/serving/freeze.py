"""From the process image to one immutable snapshot."""

from collections.abc import Mapping

import numpy as np

from ems.drivers.serving.image import ArrayImage, DeviceImage
from ems.model import (
    MISSING,
    CellBlock,
    ConverterReading,
    GridReading,
    PackReading,
    Quality,
    Reading,
)
from ems.site import Site

Images = Mapping[str, DeviceImage]


def pack_reading(image: DeviceImage, now_s: float) -> PackReading:
    """What one BMS says."""
    read = image.read
    return PackReading(
        link=image.link,
        voltage_v=read("voltage_v", now_s),
        current_a=read("current_a", now_s),
        soc_frac=read("soc_frac", now_s),
        soh_frac=read("soh_frac", now_s),
        charge_limit_a=read("charge_limit_a", now_s),
        discharge_limit_a=read("discharge_limit_a", now_s),
        alarm_level=read("alarm_level", now_s),
        contactor=read("contactor", now_s),
        heartbeat=image.heartbeat(now_s),
    )


def converter_reading(image: DeviceImage, now_s: float) -> ConverterReading:
    """What one converter says."""
    read = image.read
    return ConverterReading(
        link=image.link,
        power_w=read("power_w", now_s),
        setpoint_w=read("setpoint_w", now_s),
        state=read("state", now_s),
        dc_voltage_v=read("dc_voltage_v", now_s),
        dc_current_a=read("dc_current_a", now_s),
    )


def grid_reading(meter: DeviceImage, frequency: DeviceImage, now_s: float) -> GridReading:
    """The point of common coupling; frequency may come from another meter."""
    return GridReading(
        link=meter.link,
        power_w=meter.read("power_w", now_s),
        voltage_v=meter.read("voltage_v", now_s),
        frequency_hz=frequency.read("frequency_hz", now_s),
        import_wh=meter.read("import_wh", now_s),
    )


def cell_block(site: Site, images: Images, now_s: float) -> CellBlock:
    """All cells of the site, pack after pack; fresh arrays, read-only."""
    layout = site.layout
    volts, temps = _Gathered(layout.n_cells), _Gathered(layout.n_temps)
    for index, pack in enumerate(site.packs):
        image = images[pack.device]
        volts.take(image, "cell_voltage_v", layout.cell_slices[index], now_s)
        temps.take(image, "cell_temp_c", layout.temp_slices[index], now_s)
    return CellBlock(*volts.frozen(), *temps.frozen())


def channel(image: DeviceImage, name: str, index: int, now_s: float) -> Reading:
    """One element of an array as a reading of its own."""
    array = image.array(name)
    if array is None or index >= len(array.values):
        return MISSING
    quality = Quality(int(array.quality[index]))
    if quality > Quality.UNCERTAIN:
        return Reading(None, array.at_s, quality)
    if _stale(array, image.ttl_s[name], now_s):
        quality = Quality.STALE
    return Reading(float(array.values[index]), array.at_s, quality)


class _Gathered:
    """Site-wide arrays under construction; what nobody fills stays missing."""

    def __init__(self, size: int) -> None:
        self.value = np.zeros(size)
        self.at_s = np.zeros(size)
        self.quality = np.full(size, Quality.MISSING, np.uint8)

    def take(self, image: DeviceImage, name: str, where: slice, now_s: float) -> None:
        array = image.array(name)
        if array is None:
            return
        self.value[where] = array.values
        self.at_s[where] = array.at_s
        quality = array.quality
        if _stale(array, image.ttl_s[name], now_s):
            quality = np.maximum(quality, np.uint8(Quality.STALE))
        self.quality[where] = quality

    def frozen(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        for array in (self.value, self.at_s, self.quality):
            array.flags.writeable = False
        return self.value, self.at_s, self.quality


def _stale(array: ArrayImage, ttl_s: float, now_s: float) -> bool:
    return now_s - array.at_s > ttl_s
