#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace vitower {

// The life of a server. It only ever moves forward, except between kServing and kStuck: no device works. A drain may
// skip over what is before it.
enum class State : uint8_t { kStarting, kWarming, kServing, kStuck, kDraining, kStopped };

inline constexpr std::array<std::string_view, 6> kStateNames = {"starting", "warming",  "serving",
                                                                "stuck",    "draining", "stopped"};
constexpr std::string_view Name(State state) { return kStateNames[static_cast<size_t>(state)]; }

}  // namespace vitower
