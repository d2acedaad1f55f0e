/* Runs core modules under Node with stand-ins for the agent's own modules.
 *
 * Usage: node harness.js CORE SCENARIO, where CORE is a joined core without its four bytes and SCENARIO a JSON file:
 * { platform, modules: {name: "expression of the module"}, steps: [ {connect: 1} | {command: {...}} | {wait: ms}
 *   | {eval: "expression"} ] }. Prints one JSON object per line: what the core sent, or {"value": ...} of an eval.
 */
'use strict';

const fs = require('fs');
const vm = require('vm');

const core = fs.readFileSync(process.argv[2], 'utf8');
const scenario = JSON.parse(fs.readFileSync(process.argv[3], 'utf8'));

const sources = {};
const loaded = {};
const handlers = { command: [], connect: [] };

function emit(object) { fs.writeSync(1, JSON.stringify(object) + '\n'); }

const agent = {
    AddCommandHandler: (handler) => handlers.command.push(handler),
    AddConnectHandler: (handler) => handlers.connect.push(handler),
    SendCommand: (message) => {
        if (typeof message !== 'string') { throw new Error('only ASCII JSON text may be sent'); }
        if (/[^\x00-\x7e]/.test(message)) { throw new Error('not ASCII'); }
        emit(JSON.parse(message));
        return 1;
    }
};

// The engine's Buffer makes no buffer of nothing, and its timers cannot be cleared once they have fired.
const AgentBuffer = {
    alloc: (size) => Buffer.alloc(size),
    from: (value, encoding) => Buffer.from(value, encoding),
    concat: (list) => { if (list.length === 0) { throw new Error('concat of nothing'); } return Buffer.concat(list); }
};
const fired = new Set();
const agentSetTimeout = (callback, ms) => {
    const timer = setTimeout(() => { fired.add(timer); callback(); }, ms);
    return timer;
};
const agentClearTimeout = (timer) => {
    if (fired.has(timer)) { throw new Error('timers.clearTimeout(): Invalid Parameter'); }
    clearTimeout(timer);
};

const standIns = {
    MeshAgent: () => agent,
    os: () => ({ Name: 'Test OS', networkInterfaces: () => ({ lo: [{ mac: '00:00', address: '127.0.0.1' }] }) }),
    fs: () => fs,
    'user-sessions': () => ({
        on: () => {}, isRoot: () => true, consoleUid: () => { throw new Error('nobody'); },
        getUsername: () => 'someone', enumerateUsers: () => Promise.reject(new Error('no session manager'))
    }),
    NetworkMonitor: () => { throw new Error('not in this build'); },
    child_process: () => ({
        SpawnTypes: { DEFAULT: 0, USER: 1 },
        execFile: (path, args, options) => {
            const child = require('child_process').spawn(path, args.slice(1), { argv0: args[0] });
            child.on('error', (error) => emit({ error: error.message }));
            return child;
        }
    })
};
for (const name of Object.keys(scenario.modules || {})) {
    standIns[name] = () => sandbox.eval('(' + scenario.modules[name] + ')');
}

function agentRequire(name) {
    if (Object.prototype.hasOwnProperty.call(loaded, name)) { return loaded[name]; }
    if (Object.prototype.hasOwnProperty.call(sources, name)) {
        const module = { exports: {} };
        const wrapped = vm.runInContext('(function (module, exports, require) {' + sources[name] + '\n})', sandbox,
            { filename: name });
        wrapped(module, module.exports, agentRequire);
        loaded[name] = module.exports;
    } else if (Object.prototype.hasOwnProperty.call(standIns, name)) {
        loaded[name] = standIns[name]();
    } else {
        throw new Error('module not found: ' + name);
    }
    return loaded[name];
}

const sandbox = vm.createContext({
    require: agentRequire,
    addModule: (name, source) => { sources[name] = source; },
    Buffer: AgentBuffer,
    setTimeout: agentSetTimeout,
    clearTimeout: agentClearTimeout,
    process: {
        platform: scenario.platform || 'linux', env: scenario.env || {},
        kill: (pid, signal) => process.kill(pid, signal)
    },
    emit: emit
});
sandbox.eval = (text) => vm.runInContext(text, sandbox);
// Objects of the scenario are made inside, as the agent's own parser would.
const inside = (value) => sandbox.eval('(' + JSON.stringify(value) + ')');

async function main() {
    vm.runInContext(core, sandbox, { filename: 'core.js' });
    for (const step of scenario.steps) {
        if ('connect' in step) { handlers.connect.forEach((handler) => handler(step.connect)); }
        if ('command' in step) { handlers.command.forEach((handler) => handler(inside(step.command))); }
        if ('wait' in step) { await new Promise((resolve) => setTimeout(resolve, step.wait)); }
        if ('eval' in step) { emit({ value: sandbox.eval(step.eval) }); }
        await new Promise((resolve) => setImmediate(resolve));
    }
}

main();
