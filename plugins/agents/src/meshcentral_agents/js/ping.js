/* Liveness of the core itself: the transport has pings of its own, this one answers only while the script runs. */
'use strict';

function attach(dispatch) {
    dispatch.on('ping', function () { dispatch.send({ action: 'pong' }); });
}

module.exports = { attach: attach };
