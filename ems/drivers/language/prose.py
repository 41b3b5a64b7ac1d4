"""What the reference page of the profile language says between its tables."""

from typing import Final

HEAD: Final = """# Device profiles

<!-- Written by `python -m ems.drivers.language.schema`; do not edit by hand. -->

A profile is one YAML file that says everything the EMS knows about a device: where each value
lies, how it is coded, how often it is read, how the device is recognised and commanded, what its
safe state is, and where each fact comes from. It holds no code. Shipped profiles live in
`ems/drivers/profiles/`; a site file names one by name, or gives the path of your own.
To write one, start with [Add a device](../howto/add-a-device.md).
`python -m ems.drivers.language FILE` checks it and reports every mistake with file, line and
column. Editors that know JSON Schema can use
[device-profile.schema.json](device-profile.schema.json).
"""

MEANING: Final = """`maturity` is honest: **template** was written from documents and has never met
the device, **simulated** describes our own simulator, **bench** and **field** were proven there. Go
through the confirmations named in its `provenance` before you let a template command anything.
"""

COMMANDS: Final = """| kind | command | values it brings |
|---|---|---|
| `power` | set-point of a PCS, every cycle | `power_w` |
| `rectifier` | limits of a shelf, every cycle | `power_limit_w`, `charge_limit_a` |
| `contactor` | open or close | `contactor` |
| `load` | connect or shed | `load_on` |

A command is rounded towards zero, so the device is never asked for more than was wanted; one
outside `write_range` is refused with the reason, never clamped. Power and current are positive
when the battery discharges, import is positive.

Opening a contactor has precedence: neither `requires` nor a used-up `daily_budget` stands in its
way. Before the EMS asks for it, it takes the power away and waits until the current is below a
tenth of the rated capacity, 3 s at most; a device that wants less than that must guard itself.

There is no command that resets a fault which the *device* keeps: what has tripped a BMS is looked
at on the spot and reset there, with its own button or the vendor's tool. `ems reset` clears latches
of the EMS only.
"""

TRUST: Final = """Every value a profile provides needs a vector. Take them from the vendor's own
tool, raw and in engineering units: one discharging, one charging, one with a value missing. They
prove address, type, scale and sign at once.
"""

TAIL: Final = """## What the EMS makes of it

- **Reads are planned** from the points: per register table and poll class, fewest requests on
  TCP, least time on a serial line. What a faster request brings along anyway is not asked for
  again. `blocks` pins them where a device answers to certain ranges only.
- **On a serial line** the fastest poll class may take 60 % of the time and is never stretched: a
  line too slow for it is refused at start. All other classes together may take 20 %; beyond that
  they are asked less often, and their values live accordingly longer. `baud` (9600), `parity`
  (`N`) and `stop_bits` (1) are options of the device in the site file.
- **Believed** is only the exact answer to the request. Anything else makes the whole block *bad*.
- **Another device** than the profile's (`identity`) is never written to, and nothing it says is
  believed.
- **Commands** are dropped and reported when they cannot be delivered in time, never delivered
  later. A newer command for the same actuator replaces one that has not gone yet.
- **Heartbeat**: its time is when the counter last changed. Nothing stands in for a counter: frames
  of a resting pack may rightly repeat for minutes.
- **Arrays**: each element has a quality of its own. One cell without a value leaves the others
  good, but the pack has lost a cell; what follows is row C31 of the
  [interlocks](interlocks.md).
- **OPC UA**: what a server takes in one request (`OperationLimits`) is asked at every connect;
  reads, monitored items and writes are split accordingly.
- **Loads**: the loads of a site that name one device take its channels in site order.
- **Frequency** comes from the grid meter, else from the first other meter that has it.
- **Not in this language**: coils and discrete inputs (functions 1, 2, 5 and 15), file records, and
  conditions that compare numbers. Most devices show the same contents in registers; one that takes
  its contactor command as a coil only needs a gateway or an I/O module that does.
"""

MIGRATION: Final = """## Coming from version 1

| version 1 | version 2 |
|---|---|
| `blocks` required | optional; leave them out unless the device wants exact ranges |
| `alarms: [{at, mask, level}]` | `bitfields`, each bit with a name and a severity |
| `sign: -1` of a power or current | `positive: charge` (or `export`, `consumption`) |
| time-out register under `on_connect` | `device_timeout`, verified at every connect |
| `heartbeat_write: point` | `heartbeats: {write: {point: …}}` |
| writable without `write_range` | `write_range` is required, except for an `enum` or a bool |
"""
