/* How many remote sessions of each kind each account has open on this device: `sessions`.
 *
 * Modules that serve tunnels call `opened` and `closed`; the server is told after each change and at connect.
 */
'use strict';

var KINDS = ['kvm', 'terminal', 'files', 'tcp', 'udp', 'msg', 'app', 'help'];

var counts = {};
var report = null;

function change(kind, user, step) {
    var users;
    if (KINDS.indexOf(kind) < 0) { throw new Error('unknown session kind ' + kind); }
    users = counts[kind] || (counts[kind] = {});
    users[user] = (users[user] || 0) + step;
    if (users[user] <= 0) { delete users[user]; }
    if (report !== null) { report(kind); }
}

function attach(dispatch) {
    report = function (kind) {
        dispatch.send({ action: 'sessions', type: kind, value: counts[kind] || {} });
    };
    dispatch.onConnect(function () {
        KINDS.forEach(function (kind) {
            if (counts[kind] && Object.keys(counts[kind]).length > 0) { report(kind); }
        });
    });
}

module.exports = {
    attach: attach,
    opened: function (kind, user) { change(kind, user, 1); },
    closed: function (kind, user) { change(kind, user, -1); }
};
