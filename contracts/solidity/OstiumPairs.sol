// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

/// Test double of Ostium's PairsStorage: what is allowed on a pair. Leverages are x 100, amounts USDC base units.
contract OstiumPairs {
    struct Rules {
        bool listed;
        uint16 minLeverage;
        uint32 maxLeverage;
        uint32 overnightMaxLeverage;
        uint64 minLevPos;
        uint64 oracleFee;
    }

    mapping(uint16 => Rules) private _rules;

    function set(uint16 pairIndex, Rules calldata rules) external {
        _rules[pairIndex] = rules;
    }

    function isPairIndexListed(uint16 pairIndex) external view returns (bool) {
        return _rules[pairIndex].listed;
    }

    function pairMinLeverage(uint16 pairIndex) external view returns (uint16) {
        return _rules[pairIndex].minLeverage;
    }

    function pairMaxLeverage(uint16 pairIndex) external view returns (uint32) {
        return _rules[pairIndex].maxLeverage;
    }

    function pairOvernightMaxLeverage(uint16 pairIndex) external view returns (uint32) {
        return _rules[pairIndex].overnightMaxLeverage;
    }

    function pairMinLevPos(uint16 pairIndex) external view returns (uint64) {
        return _rules[pairIndex].minLevPos;
    }

    function pairOracleFee(uint16 pairIndex) external view returns (uint64) {
        return _rules[pairIndex].oracleFee;
    }
}
