/* `runcommands`: run a script of the system's shell and answer with its output and exit code.
 *
 * Commands run at the same time and do not wait for each other. Standard output and standard error are one stream in
 * the order of writing; the input is empty.
 */
'use strict';

var text = require('mesh-text');
var describe = require('mesh-dispatch').describe;

var FULL_RIGHTS = 0xFFFFFFFF;
var REMOTE_COMMAND = 131072;

var TYPE = { DEFAULT: 0, CMD: 1, POWERSHELL: 2, SH: 3 };
var AS = { AGENT: 0, USER_IF_POSSIBLE: 1, USER_ONLY: 2 };

var MAX_OUTPUT = 1024 * 1024;
var MAX_RUNNING = 64;
var MAX_ARGUMENT = 120000; // Linux takes 131072 bytes for one argument
var DEFAULT_SECONDS = 3600;
var MAX_SECONDS = 86400;

// Children, streams and timers are freed while they run unless something refers to them.
var running = {};
var runningCount = 0;
var nextKey = 1;

function Refused(message) { this.message = message; }

function permitted(rights) {
    return typeof rights === 'number' && ((rights >>> 0) === FULL_RIGHTS || (rights & REMOTE_COMMAND) !== 0);
}

// ---------------------------------------------------------------------------------------------------------- plans
// A plan is { path, arguments, options, group (its own process group), remove (files to delete afterwards) }.

function firstExisting(paths) {
    var fs = require('fs'), i;
    for (i = 0; i < paths.length; i++) {
        if (fs.existsSync(paths[i])) { return paths[i]; }
    }
    return null;
}

/** Name of the user at the console, null if nobody is. */
function consoleUser() {
    var users = require('user-sessions');
    try {
        return users.getUsername(users.consoleUid());
    } catch (error) {
        return null; // without a session manager there is no console user either
    }
}

/** Whose account the commands run as: null for the agent's own. */
function posixAccount(runAs) {
    var name;
    if (runAs === AS.AGENT) { return null; }
    name = consoleUser();
    if (name === null && runAs === AS.USER_ONLY) { throw new Refused('no user is logged in at this device'); }
    return name;
}

/* The outer shell joins the two output streams, empties the input, and turns death by a signal into 128 + signal:
 * the agent itself reports such an end as exit code 0, and may deliver error output after the exit. */
var POSIX_WRAPPER = ' </dev/null 2>&1; exit $?';

function posixPlan(request) {
    var shell = firstExisting(['/bin/sh', '/system/bin/sh']);
    var script = text.native(request.commands);
    var account = posixAccount(request.runAs);
    var setsid = firstExisting(['/usr/bin/setsid', '/bin/setsid']);
    var inner, words;
    if (shell === null) { throw new Refused('this device has no /bin/sh'); }
    if (text.encode(request.commands).length > MAX_ARGUMENT) {
        throw new Refused('the commands are longer than ' + MAX_ARGUMENT + ' bytes');
    }
    if (account === null) {
        inner = shell + ' -c "$1"';
    } else if (process.platform === 'linux') {
        inner = 'su -s ' + shell + ' "$2" -c "$1"';
    } else {
        inner = 'su "$2" -c "$1"';
    }
    words = ['sh', '-c', inner + POSIX_WRAPPER, 'sh', script];
    if (account !== null) { words.push(account); }
    if (setsid === null) { return { path: shell, arguments: words, group: false, remove: [] }; }
    words[0] = shell;
    return { path: setsid, arguments: ['setsid'].concat(words), group: true, remove: [] };
}

function windowsShell(type) {
    if (type === TYPE.DEFAULT || type === TYPE.CMD) { return { suffix: '.cmd', start: '@echo off\r\n' }; }
    if (type === TYPE.POWERSHELL) { return { suffix: '.ps1', start: '\ufeff' }; }
    throw new Refused('Invalid command type');
}

/* Files of the service in its temporary folder cannot be read by users; a script that a user is to run lies where
 * users can read but not change it. */
function windowsPlan(request) {
    var child = require('child_process'), fs = require('fs');
    var shell = windowsShell(request.type);
    var asUser = request.runAs !== AS.AGENT;
    var folder = asUser ? process.env['ProgramData'] : process.env['windir'] + '\\Temp';
    var name = 'mesh-' + Math.random().toString(16).slice(2) + Date.now().toString(16) + shell.suffix;
    var file = folder + '\\' + name;
    var call = shell.suffix === '.cmd' ?
        'call ' + file :
        'powershell.exe -NoLogo -NoProfile -NonInteractive -ExecutionPolicy Bypass -File ' + file;
    fs.writeFileSync(file, text.encode(shell.start + request.commands.replace(/\r?\n/g, '\r\n') + '\r\n'));
    return {
        path: process.env['windir'] + '\\system32\\cmd.exe',
        arguments: ['cmd', '/d', '/c', 'chcp 65001 >nul & ' + call + ' <nul 2>&1'],
        options: asUser ? { type: child.SpawnTypes.USER } : {},
        group: false,
        remove: [file]
    };
}

function plan(request) {
    if (process.platform === 'win32') { return windowsPlan(request); }
    if (request.type !== TYPE.DEFAULT && request.type !== TYPE.SH) { throw new Refused('Invalid command type'); }
    return posixPlan(request);
}

// -------------------------------------------------------------------------------------------------------- running

function start(made, options) {
    return require('child_process').execFile(made.path, made.arguments, options || {});
}

function stop(job) {
    try {
        if (job.plan.group) { process.kill(-job.child.pid, 9); } else { job.child.kill(); }
    } catch (error) {
        return; // it ended by itself in the meantime
    }
}

/** Take the job out of the table and give its output; later events of its child are ignored. `stopped` says why it
 * did not end by itself, null if it did. */
function finish(job, exitCode, stopped, done) {
    if (running[job.key] !== job) { return; }
    delete running[job.key];
    runningCount--;
    if (job.timer !== null) { clearTimeout(job.timer); }
    job.plan.remove.forEach(function (file) {
        try { require('fs').unlinkSync(file); } catch (error) { return; }
    });
    var output = job.size > 0 ? text.decode(Buffer.concat(job.chunks)) : ''; // of nothing, concat makes no buffer
    if (job.dropped > 0) { output += '\n[output truncated: ' + job.dropped + ' more bytes]\n'; }
    if (stopped !== null) { output += '\n[' + stopped + ']\n'; }
    done(output, exitCode, stopped);
}

function collect(job, data) {
    var room = MAX_OUTPUT - job.size, copy;
    if (data.length > room) {
        job.dropped += data.length - room;
        if (room === 0) { return; }
    }
    copy = Buffer.alloc(Math.min(room, data.length)); // the agent uses its receive buffer again
    data.copy(copy, 0, 0, copy.length);
    job.chunks.push(copy);
    job.size += copy.length;
}

/** Run a request; done(output, exitCode, problem) is called once. Throws Refused when it cannot be started. */
function run(request, done) {
    if (runningCount >= MAX_RUNNING) { throw new Refused('more than ' + MAX_RUNNING + ' commands are running'); }
    var made = plan(request);
    var job = { key: nextKey++, plan: made, child: null, chunks: [], size: 0, dropped: 0, timer: null };
    try {
        job.child = start(made, made.options);
    } catch (error) {
        if (request.runAs !== AS.USER_IF_POSSIBLE || process.platform !== 'win32') { throw error; }
        job.child = start(made, {}); // nobody is logged in: as the agent
    }
    running[job.key] = job;
    runningCount++;
    function take(data) { collect(job, data); }
    job.child.stdout.on('data', take);
    job.child.stderr.on('data', take);
    job.child.on('exit', function (code) {
        finish(job, typeof code === 'number' ? code : null, null, done);
    });
    job.timer = setTimeout(function () {
        job.timer = null; // to clear a timer that has fired is an error
        stop(job);
        finish(job, null, 'stopped: still running after ' + request.seconds + ' s', done);
    }, request.seconds * 1000);
}

// ------------------------------------------------------------------------------------------------------- messages

/** The parts of the message that matter, checked. */
function parse(message) {
    var seconds = message.timeout === undefined ? DEFAULT_SECONDS : message.timeout;
    var runAs = message.runAsUser === undefined ? AS.AGENT : message.runAsUser;
    if (!permitted(message.rights)) { throw new Refused('Access denied'); }
    if (typeof message.cmds !== 'string' || message.cmds === '') { throw new Refused('there are no commands'); }
    if (typeof seconds !== 'number' || !(seconds >= 1 && seconds <= MAX_SECONDS)) {
        throw new Refused('the time limit must be 1 to ' + MAX_SECONDS + ' seconds');
    }
    if (runAs !== AS.AGENT && runAs !== AS.USER_IF_POSSIBLE && runAs !== AS.USER_ONLY) {
        throw new Refused('runAsUser must be 0, 1 or 2');
    }
    return { type: message.type || TYPE.DEFAULT, commands: message.cmds, runAs: runAs, seconds: seconds };
}

function attach(dispatch) {
    dispatch.on('runcommands', function (message) {
        function answer(output, exitCode, problem) {
            if (!message.reply) { return; }
            var body = {
                action: 'msg',
                type: 'runcommands',
                result: output,
                exitcode: exitCode,
                sessionid: message.sessionid,
                responseid: message.responseid
            };
            if (problem) { body.error = problem; }
            dispatch.send(body);
        }
        try {
            run(parse(message), answer);
        } catch (error) {
            answer(describe(error), null, describe(error));
        }
    });
}

module.exports = { attach: attach };
