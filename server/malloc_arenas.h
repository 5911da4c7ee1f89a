#pragma once

namespace vitower {

// Lets malloc have as many arenas as there are cores to this process, where glibc makes eight times that: what a moment
// of many calls took stays in each arena that it came from, and a loaded server grows in steps. Call it before
// threads start: arenas that are there stay.
void LimitMallocArenas();

}  // namespace vitower
