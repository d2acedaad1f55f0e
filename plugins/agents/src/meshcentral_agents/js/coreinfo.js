/* What the device tells about itself when the core starts: `coreinfo`. */
'use strict';

var CORE_VERSION = '0.1.0';

// What this core can do of the capability bits 1 desktop, 2 terminal, 4 files, 8 console.
var CAPABILITIES = 0;
var listening = []; // sources of change events; kept, since the engine frees what nothing refers to

function attempt(read) {
    try { return read(); } catch (error) { return undefined; }
}

/** Milliseconds since 1970 of the last start of the system, undefined where it cannot be read cheaply. */
function lastBoot() {
    if (process.platform !== 'linux') { return undefined; }
    return attempt(function () {
        var found = /^btime (\d+)$/m.exec(require('fs').readFileSync('/proc/stat').toString());
        return found === null ? undefined : parseInt(found[1], 10) * 1000;
    });
}

function facts() {
    var info = {
        action: 'coreinfo',
        value: 'mesh core ' + CORE_VERSION,
        caps: CAPABILITIES,
        osdesc: attempt(function () { return require('os').Name; }),
        root: attempt(function () { return require('user-sessions').isRoot(); }),
        lastbootuptime: lastBoot()
    };
    return info;
}

function sessionName(session) {
    return session.Domain ? session.Domain + '\\' + session.Username : session.Username;
}

/** Sorted names of those that `wanted` accepts, each once. */
function names(sessions, wanted) {
    var found = {}, key;
    for (key in sessions) {
        if (sessions[key] && typeof sessions[key].Username === 'string' && wanted(sessions[key])) {
            found[sessionName(sessions[key])] = true;
        }
    }
    return Object.keys(found).sort();
}

/** Add `users` and `lusers` and hand the facts on; without a session manager they go as they are. */
function withUsers(info, done) {
    var answered = false;
    function finish(sessions) {
        if (answered) { return; }
        answered = true;
        if (sessions) {
            info.users = names(sessions, function (one) { return one.State === 'Active' || one.State === 'Locked'; });
            info.lusers = names(sessions, function (one) { return one.State === 'Locked' || one.Locked === true; });
        }
        done(info);
    }
    try {
        require('user-sessions').enumerateUsers().then(finish, function () { finish(null); });
    } catch (error) {
        finish(null);
    }
}

function attach(dispatch) {
    var last = null;

    function report(always) {
        withUsers(facts(), function (info) {
            var body = JSON.stringify(info);
            if (!always && body === last) { return; }
            last = body;
            dispatch.send(info);
        });
    }
    dispatch.onConnect(function () { report(true); });
    ['changed', 'locked', 'unlocked'].forEach(function (event) {
        attempt(function () {
            var source = require('user-sessions');
            listening.push(source);
            source.on(event, function () { report(false); });
        });
    });
}

module.exports = { attach: attach };
