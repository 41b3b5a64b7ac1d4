// An OPC UA server that is not ours, to be read, subscribed and written by us.
//
// node node_server.js CONFIG.json, with
//   port, certificate, key, pki (folder of its trust list), user, password, and
//   limits: operationLimits of the server, such as {"maxNodesPerRead": 5};
//   period_ms: how often the moving values move; 0 holds them still.
// Prints READY when it listens. A line on standard input that says
//   {"set": "name", "value": 1.5, "status": "Good"} changes a variable.

"use strict";

const fs = require("fs");
const path = require("path");
const readline = require("readline");
const { createRequire } = require("module");

const config = JSON.parse(fs.readFileSync(process.argv[2], "utf8"));
const opcua = createRequire(path.join(config.modules, "package.json"))("node-opcua");
const { DataType, DataValue, StatusCodes, Variant, VariantArrayType } = opcua;

const CELLS = 16;
const MANY = config.many || 0;

async function main() {
  const manager = new opcua.OPCUACertificateManager({
    rootFolder: config.pki,
    automaticallyAcceptUnknownCertificate: config.accept_clients !== false,
  });
  await manager.initialize();
  const users = new opcua.OPCUACertificateManager({
    rootFolder: config.pki + "-users",
    automaticallyAcceptUnknownCertificate: true,
  });
  await users.initialize();
  const server = new opcua.OPCUAServer({
    port: config.port,
    hostname: "127.0.0.1",
    resourcePath: "/UA",
    certificateFile: config.certificate,
    privateKeyFile: config.key,
    serverCertificateManager: manager,
    userCertificateManager: users,
    serverInfo: { applicationUri: config.uri },
    serverCapabilities: config.limits ? { operationLimits: config.limits } : undefined,
    securityPolicies: [
      opcua.SecurityPolicy.None,
      opcua.SecurityPolicy.Basic256Sha256,
      opcua.SecurityPolicy.Aes256_Sha256_RsaPss,
    ],
    securityModes: [
      opcua.MessageSecurityMode.None,
      opcua.MessageSecurityMode.SignAndEncrypt,
    ],
    allowAnonymous: config.anonymous !== false,
    userManager: {
      isValidUser: (name, word) => name === config.user && word === config.password,
    },
  });
  await server.initialize();
  const space = server.engine.addressSpace;
  const own = space.registerNamespace("urn:test:battery");
  const folder = own.addObject({ organizedBy: space.rootFolder.objects, browseName: "Battery" });
  const variables = {};

  function add(name, dataType, value, access = "CurrentRead") {
    const isArray = Array.isArray(value);
    const variable = own.addVariable({
      componentOf: folder,
      browseName: name,
      nodeId: `s=p1.${name}`,
      dataType,
      valueRank: isArray ? 1 : -1,
      arrayDimensions: isArray ? [value.length] : null,
      accessLevel: access,
      userAccessLevel: access,
      minimumSamplingInterval: 50,
    });
    variables[name] = { variable, dataType, isArray };
    show(name, value, StatusCodes.Good);
    return variable;
  }

  function show(name, value, status) {
    const { variable, dataType, isArray } = variables[name];
    const arrayType = isArray ? VariantArrayType.Array : VariantArrayType.Scalar;
    variable.setValueFromSource(new Variant({ dataType, arrayType, value }), status, new Date());
  }

  const voltages = Array.from({ length: CELLS }, (_, k) => 3.3 + 0.001 * k);
  add("voltage", DataType.Double, 52.9);
  add("current", DataType.Double, -10.5);
  add("soc", DataType.Double, 63.5);
  add("soh", DataType.Double, 80.0);
  add("charge_limit", DataType.Double, 50.0);
  add("discharge_limit", DataType.Double, 100.0);
  add("alarm_level", DataType.Int32, 0);
  add("contactor", DataType.Int32, 2);
  add("heartbeat", DataType.UInt32, 41);
  add("cell_voltages", DataType.Double, voltages);
  add("cell_temps", DataType.Double, [24.5, 25.0, 25.5, -3.0]);
  add("contactor_command", DataType.Int32, 0, "CurrentRead | CurrentWrite");
  add("setpoint", DataType.Double, 0.0, "CurrentRead | CurrentWrite");
  add("limits", DataType.Double, [1.0, 2.0, 3.0], "CurrentRead | CurrentWrite");
  add("flag", DataType.Boolean, true);
  add("small", DataType.Int16, -7);
  add("word", DataType.UInt16, 65000);
  add("single", DataType.Float, 1.5);
  add("text", DataType.String, "no number");
  add("broken", DataType.Double, 1.0);
  add("doubtful", DataType.Double, 2.5);
  show("broken", 1.0, StatusCodes.BadSensorFailure);
  show("doubtful", 2.5, StatusCodes.UncertainLastUsableValue);
  for (let k = 0; k < MANY; k++) add(`v${k}`, DataType.Double, 0.25 * k);

  let beat = 41;
  if (config.period_ms) {
    setInterval(() => {
      beat += 1;
      show("heartbeat", beat, StatusCodes.Good);
      for (let k = 0; k < MANY; k++) show(`v${k}`, beat + 0.25 * k, StatusCodes.Good);
    }, config.period_ms);
  }

  const orders = readline.createInterface({ input: process.stdin });
  orders.on("close", () => process.exit(0)); // whoever started us is gone
  orders.on("line", (line) => {
    const wish = JSON.parse(line);
    show(wish.set, wish.value, StatusCodes[wish.status || "Good"]);
    console.log("SET " + wish.set);
  });

  await server.start();
  console.log("READY");
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
