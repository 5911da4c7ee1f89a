#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace vitower {

// The life of a server. It only ever moves forward; kWarming may be skipped over by a drain.
enum class State : uint8_t { kStarting, kWarming, kServing, kDraining, kStopped };

inline constexpr std::array<std::string_view, 5> kStateNames = {"starting", "warming", "serving", "draining",
                                                                "stopped"};
constexpr std::string_view Name(State state) { return kStateNames[static_cast<size_t>(state)]; }

}  // namespace vitower
