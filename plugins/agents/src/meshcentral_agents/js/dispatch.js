/* Who handles what the server sends, and who is told when the control channel comes up or goes down.
 *
 * A module of the core exports `attach(dispatch)` and registers itself there.
 */
'use strict';

var text = require('mesh-text');

var handlers = {};
var connected = [];
var disconnected = [];

function describe(error) {
    return String(error && error.message ? error.message : error).substring(0, 512);
}

/** Send an object to the server. */
function send(agent, message) {
    agent.SendCommand(text.encodeJson(message));
}

function create(agent) {
    var dispatch = {
        /** Handle messages whose `action` is `action`: handler(message). One handler per action. */
        on: function (action, handler) {
            if (Object.prototype.hasOwnProperty.call(handlers, action)) {
                throw new Error('two core modules handle ' + action);
            }
            handlers[action] = handler;
        },
        onConnect: function (listener) { connected.push(listener); },
        onDisconnect: function (listener) { disconnected.push(listener); },
        send: function (message) { send(agent, message); },
        /** Write a line to the device's log on the server. */
        log: function (line) { send(agent, { action: 'log', msg: String(line).substring(0, 1024) }); },
        /** What the control channel delivers: an object, a text that was not JSON, or a Buffer. */
        command: function (message) {
            if (message === null || typeof message !== 'object' || typeof message.action !== 'string') { return; }
            if (!Object.prototype.hasOwnProperty.call(handlers, message.action)) { return; }
            guarded('action ' + message.action, handlers[message.action], message);
        },
        connection: function (state) {
            var listeners = state === 1 ? connected : disconnected, i;
            for (i = 0; i < listeners.length; i++) { guarded('connection', listeners[i], state); }
        }
    };

    function guarded(what, callback, argument) {
        try {
            callback(argument);
        } catch (error) {
            dispatch.log('Agent core: ' + what + ' failed: ' + describe(error));
        }
    }
    return dispatch;
}

module.exports = { create: create, describe: describe };
