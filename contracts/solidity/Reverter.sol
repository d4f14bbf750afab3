// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

/// Every way in which a transaction can be mined and yet fail.
contract Reverter {
    error Refused(uint256 code);

    event Promised(uint256 value);

    // The event shows that a reverted transaction leaves no logs, although the call emitted one.
    function withReason() external {
        emit Promised(1);
        revert("refused on purpose");
    }

    function withError(uint256 code) external pure {
        revert Refused(code);
    }

    function withPanic() external pure {
        assert(false);
    }

    function withoutData() external pure {
        assembly {
            revert(0, 0)
        }
    }

    function burnAllGas() external pure {
        assembly {
            invalid()
        }
    }
}
