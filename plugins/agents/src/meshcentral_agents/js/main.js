/* Start of the core: attach every module that was joined before this script, then follow the control channel. */
var meshCore = (function () {
    'use strict';
    var agent = require('MeshAgent');
    var dispatch = require('mesh-dispatch').create(agent);
    var describe = require('mesh-dispatch').describe;
    var failures = [];

    meshModules.forEach(function (name) {
        try {
            var loaded = require(name);
            if (typeof loaded.attach === 'function') { loaded.attach(dispatch); }
        } catch (error) {
            failures.push('Agent core: module ' + name + ' did not start: ' + describe(error));
        }
    });
    dispatch.onConnect(function () { failures.forEach(dispatch.log); });
    agent.AddCommandHandler(dispatch.command);
    agent.AddConnectHandler(dispatch.connection);
    return dispatch;
})();
