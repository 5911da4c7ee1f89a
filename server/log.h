#pragma once

#include <cstdint>
#include <string_view>

#include "server/server.h"

namespace vitower {

enum class LogLevel : uint8_t { kDebug, kInfo, kWarning, kError };

// Sends the process's log, gRPC's lines included, to stderr from now on, one line an event: text, or one JSON object
// with time, level, message and, where there is one, request_id. Nobody waits for stderr to be read: lines for which
// its pipe has no room are lost, and counted in a line that comes later. Call once, at start. Before it, Log writes as
// spdlog does by default.
void InitLogging(LogFormat format, LogLevel level);

// Thread-safe. `request_id` may be empty. Never log what a client sent beyond names and sizes.
void Log(LogLevel level, std::string_view message, std::string_view request_id = {});

// Debug messages cost their making: ask first.
bool ShouldLog(LogLevel level);

}  // namespace vitower
