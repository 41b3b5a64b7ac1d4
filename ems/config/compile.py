"""From what an integrator wrote to what the program reads: SI units and indices."""

import os
from dataclasses import dataclass
from pathlib import Path

from ems.config.schema import ConverterSection, DeviceSection, PackSection, SiteFile
from ems.site import (
    BackupSpec,
    ConverterSpec,
    DeviceSpec,
    GridSpec,
    LoadSpec,
    PackSpec,
    PvSpec,
    RectifierSpec,
    SafetySpec,
    SimPack,
    SimSpec,
    Site,
    ThresholdOverride,
    UplinkSpec,
)
from ems.units import FRAC_PER_PCT, S_PER_MIN, w_from_kw

OHM_PER_MOHM = 1e-3
FILE_OPTIONS = {
    "opcua": frozenset(
        {"certificate", "key", "trust", "password_file", "user_certificate", "user_key"}
    ),
    "modbus_tls": frozenset({"ca", "certificate", "key"}),
}
"""Options that name files, by transport; a relative path starts at the site file."""


@dataclass(frozen=True, slots=True)
class Declared:
    """What a site file declares and only ``ems check`` judges; control never reads it."""

    safety_report_sha256: str | None
    screening_report_sha256: str | None
    maker_authorisation: str | None
    boost_v: float | None
    """Boost voltage of the rectifier shelf, V; ``None`` where boost is off."""


def declared(file: SiteFile) -> Declared:
    """The papers and settings that the control process does not need."""
    shelves = [c.rectifier for c in file.converters if c.rectifier is not None]
    return Declared(
        safety_report_sha256=file.site.safety_report_sha256,
        screening_report_sha256=file.site.screening_report_sha256,
        maker_authorisation=file.site.maker_authorisation,
        boost_v=shelves[0].boost_v if shelves else None,
    )


def compile_site(file: SiteFile, base: Path, source_sha256: str) -> Site:
    """The site in SI units.

    Args:
        file: A site file that passed the cross-checks.
        base: Directory that relative paths in the file start from.
        source_sha256: Hash of the file's bytes.
    """
    order = {pack.id: index for index, pack in enumerate(file.packs)}
    return Site(
        id=file.site.id,
        name_en=file.site.name.en,
        name_zh=file.site.name.zh,
        timezone=file.site.timezone,
        kind=file.site.kind,
        cycle_s=file.site.cycle_s,
        packs=tuple(_pack(pack) for pack in file.packs),
        converters=tuple(_converter(converter, order) for converter in file.converters),
        loads=_loads(file),
        grid=GridSpec(
            device=file.grid.device,
            nominal_v=file.grid.nominal_v,
            nominal_hz=float(file.grid.nominal_hz),
            import_limit_w=w_from_kw(file.grid.import_limit_kw),
            export_limit_w=w_from_kw(file.grid.export_limit_kw),
            demand_window_s=file.grid.demand_window_min * S_PER_MIN,
            tariff=_beside(base, file.grid.tariff),
        ),
        pv=PvSpec(file.pv.device, w_from_kw(file.pv.rated_kw)) if file.pv else None,
        backup=_backup(file),
        devices=_devices(file, base),
        safety=SafetySpec(
            overrides=tuple(
                ThresholdOverride(o.cause, o.level, o.value, o.reason)
                for o in file.safety.overrides
            ),
            not_applicable=dict(file.safety.not_applicable),
        ),
        uplink=_uplink(file, base),
        data_dir=Path(file.storage.data_dir),
        metrics_port=file.metrics.port,
        sim=_simulation(file),
        source_sha256=source_sha256,
    )


def _beside(base: Path, name: str) -> Path:
    """A path written relative to the site file; ``..`` is folded for messages and records."""
    return Path(os.path.normpath(base / name))


def _pack(pack: PackSection) -> PackSpec:
    return PackSpec(
        id=pack.id,
        code=pack.code,
        original_codes=pack.original_codes,
        chemistry=pack.chemistry,
        series_cells=pack.series_cells,
        reported_cells=pack.reported_cells or pack.series_cells,
        reported_temps=pack.reported_temps,
        rated_ah=pack.rated_ah,
        soh_frac=pack.intake.soh_pct * FRAC_PER_PCT,
        soh_sigma_frac=pack.intake.soh_sigma_pct * FRAC_PER_PCT,
        resistance_ratio=pack.intake.resistance_ratio,
        group_resistance_ohm=pack.group_resistance_mohm * OHM_PER_MOHM,
        intake_date=pack.intake.date,
        air_zone=pack.air_zone,
        device=pack.device,
    )


def _converter(converter: ConverterSection, order: dict[str, int]) -> ConverterSpec:
    shelf = converter.rectifier
    return ConverterSpec(
        id=converter.id,
        device=converter.device,
        packs=tuple(order[name] for name in converter.packs),
        rated_charge_w=w_from_kw(converter.rated_charge_kw),
        rated_discharge_w=w_from_kw(converter.rated_discharge_kw),
        ramp_w_per_s=w_from_kw(converter.ramp_kw_per_s),
        efficiency_frac=converter.efficiency_pct * FRAC_PER_PCT,
        standby_w=w_from_kw(converter.standby_kw),
        device_timeout_s=converter.device_timeout_s,
        rectifier=RectifierSpec(
            float_v=shelf.float_v,
            charge_current_limit_a=shelf.charge_current_limit_a,
            lvd_disconnect_v=shelf.lvd_disconnect_v,
            lvd_reconnect_v=shelf.lvd_reconnect_v,
        )
        if shelf
        else None,
    )


def _loads(file: SiteFile) -> tuple[LoadSpec, ...]:
    return tuple(
        LoadSpec(
            id=load.id,
            name=load.name,
            critical=load.critical,
            sheddable=load.sheddable,
            priority=load.priority,
            nominal_w=w_from_kw(load.nominal_kw),
            device=load.device,
            share_frac=load.share_pct * FRAC_PER_PCT,
        )
        for load in file.loads
    )


def _backup(file: SiteFile) -> BackupSpec:
    ceiling = file.backup.soc_ceiling_pct
    return BackupSpec(
        hours=file.backup.hours,
        critical_w=w_from_kw(file.backup.critical_kw),
        confidence=file.backup.confidence_pct * FRAC_PER_PCT,
        soc_ceiling_frac=None if ceiling is None else ceiling * FRAC_PER_PCT,
    )


def _devices(file: SiteFile, base: Path) -> dict[str, DeviceSpec]:
    return {
        name: DeviceSpec(
            id=name,
            profile=str(_beside(base, device.profile))
            if device.profile.endswith((".yaml", ".yml"))
            else device.profile,
            transport=device.transport,
            host=device.host,
            port=device.port or 0,
            unit_id=device.unit_id,
            path=device.path,
            options=_options(device, base),
        )
        for name, device in file.devices.items()
    }


def _options(device: DeviceSection, base: Path) -> dict[str, str]:
    """Options of a device; where a transport takes files, theirs relative to the site file."""
    names = FILE_OPTIONS.get(device.transport, frozenset())
    return {
        key: str(_beside(base, value)) if key in names and value else value
        for key, value in device.options.items()
    }


def _uplink(file: SiteFile, base: Path) -> UplinkSpec | None:
    uplink = file.uplink
    if uplink is None:
        return None
    return UplinkSpec(
        host=uplink.host,
        port=uplink.port,
        topic_prefix=uplink.topic_prefix,
        tls_ca=_beside(base, uplink.tls_ca) if uplink.tls_ca else None,
        username_env=uplink.username_env,
        password_env=uplink.password_env,
        telemetry_period_s=uplink.telemetry_period_s,
        hold_unheard=uplink.hold_unheard,
    )


def _simulation(file: SiteFile) -> SimSpec:
    sim = file.simulation
    load_kw = sim.load_kw
    if load_kw is None:
        load_kw = sum(load.nominal_kw for load in file.loads)
    packs: list[SimPack] = []
    for pack in file.packs:
        truth = sim.packs.get(pack.id)
        if truth is None:
            # Without a truth of its own a pack is what its intake test said, evenly aged.
            soh = pack.intake.soh_pct * FRAC_PER_PCT
            ratio = pack.intake.resistance_ratio or 1.0
            packs.append(SimPack(soh, 0.0, None, soh, ratio, 0.6))
            continue
        packs.append(
            SimPack(
                soh_mean_frac=truth.soh_mean_pct * FRAC_PER_PCT,
                soh_spread_frac=truth.soh_spread_pct * FRAC_PER_PCT,
                tired_group=None if truth.tired_group is None else truth.tired_group - 1,
                tired_soh_frac=truth.tired_soh_pct * FRAC_PER_PCT,
                tired_resistance_ratio=truth.tired_resistance_ratio,
                soc_start_frac=truth.soc_start_pct * FRAC_PER_PCT,
            )
        )
    return SimSpec(
        ambient_c=sim.ambient_c,
        ambient_swing_c=sim.ambient_swing_c,
        load_w=w_from_kw(load_kw),
        packs=tuple(packs),
    )
