/* The device's network interfaces: `netinfo`, at every connect and when they change. */
'use strict';

var SETTLE_MS = 2000; // interfaces come and go in bursts

var kept = { monitor: null, timer: null };

function attach(dispatch) {
    var last = null;

    function report(always) {
        var message = { action: 'netinfo', netif2: require('os').networkInterfaces() };
        var body = JSON.stringify(message);
        if (!always && body === last) { return; }
        last = body;
        dispatch.send(message);
    }

    function changed() {
        if (kept.timer !== null) { return; }
        kept.timer = setTimeout(function () {
            kept.timer = null;
            report(false);
        }, SETTLE_MS);
    }

    dispatch.onConnect(function () { report(true); });
    try {
        kept.monitor = require('NetworkMonitor');
    } catch (error) {
        return; // this build cannot tell when interfaces change: they are reported at connect only
    }
    ['change', 'add', 'remove'].forEach(function (event) { kept.monitor.on(event, changed); });
}

module.exports = { attach: attach };
